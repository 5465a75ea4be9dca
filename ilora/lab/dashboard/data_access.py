"""The store and the workers as the pages see them: opened once per server, with a worker warm before anybody presses Run."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from ilora.checks import FieldError
from ilora.lab.content import recorded_run
from ilora.lab.runs import pool
from ilora.lab.runs.database import default_home
from ilora.lab.runs.store import Run, Store, StoreError
from ilora.records import Array, Round, RunFacts

OVER_ROUNDS = (  # what is drawn of a layer round by round
    "singular_values",
    "singular_values_ideal",
    "energy_share",
    "energy_share_ideal",
    "effective_rank",
    "effective_rank_ideal",
)
MOST_ROUNDS = 60  # of a layer's record that are read for one chart


def store() -> Store:
    """The store of this server."""
    return _open(str(default_home()))


@st.cache_resource(show_spinner=False, max_entries=4)
def _open(home: str) -> Store:
    opened = Store()
    pool.tend(opened)
    return opened


@asynccontextmanager
async def kept_up(app: object) -> AsyncIterator[None]:
    """The life of the server: runs whose workers died go on from its start, before anybody visits a page."""
    pool.keep_up()
    yield


def find(run_id: str | None) -> Run | None:
    """The run of that id as it stands now; None if there is none."""
    if not run_id:
        return None
    if run_id == recorded_run.ID:
        return recorded_run.run()
    try:
        return store().run(run_id)
    except StoreError:
        return None


def find_all(run_ids: Iterable[str]) -> dict[str, Run]:
    """Those of the runs that there are, by id, in the order of `run_ids`."""
    found = {run_id: find(run_id) for run_id in run_ids}
    return {run_id: run for run_id, run in found.items() if run}


def known(run: Run) -> bool:
    """Whether this version knows everything that the run's experiment names."""
    try:
        return bool(run.experiment)
    except FieldError:
        return False


def history(run: Run) -> pd.DataFrame:
    """The metrics of the run's finished rounds."""
    return recorded_run.history() if run.id == recorded_run.ID else store().history(run.id)


def load_round(run: Run, index: int) -> Round | None:
    """A finished round without its factors; None if its file is damaged or gone."""
    if run.id == recorded_run.ID:
        return recorded_run.round(index)
    try:
        return _load_round(str(store().home), run.id, index)
    except StoreError:
        return None


@st.cache_resource(show_spinner=False, max_entries=48)
def _load_round(home: str, run_id: str, index: int) -> Round:
    return replace(store().round(run_id, index), factors={})


def factors(run: Run, index: int, layer: str) -> dict[str, Array]:
    """What a finished round keeps of one layer, by "<stage>/<A or B>"; empty if nothing is kept or the file is damaged."""
    try:
        return _factors(str(store().home), run.id, index, layer)
    except StoreError:
        return {}


@st.cache_resource(show_spinner=False, max_entries=256)
def _factors(home: str, run_id: str, index: int, layer: str) -> dict[str, Array]:
    if run_id == recorded_run.ID:
        start = f"{layer}/"
        kept = recorded_run.round(index).factors
        return {name.removeprefix(start): array for name, array in kept.items() if name.startswith(start)}
    return store().factors(run_id, index, layer)


def layer_series(run: Run, layer: str) -> dict[str, Array]:
    """What a layer's record says round by round: "index" (T,) and OVER_ROUNDS, stacked over the finished rounds that can be read.

    Of more than MOST_ROUNDS rounds, evenly spaced ones.
    """
    step = -(-run.done // MOST_ROUNDS)
    wanted = tuple(range(run.done, 0, -step))[::-1]
    return _layer_series(str(store().home), run.id, layer, wanted)


@st.cache_resource(show_spinner=False, max_entries=32)
def _layer_series(home: str, run_id: str, layer: str, wanted: tuple[int, ...]) -> dict[str, Array]:
    read = {index: _layer_record(run_id, index, layer) for index in wanted}
    known = {index: found for index, found in read.items() if found}
    series = {name: np.stack([np.asarray(found[name]) for found in known.values()]) for name in OVER_ROUNDS if known}
    return series | {"index": np.array(list(known))}


def _layer_record(run_id: str, index: int, layer: str) -> dict[str, Array]:
    if run_id == recorded_run.ID:
        return vars(recorded_run.round(index).layers[layer])
    try:
        return store().layer(run_id, index, layer)
    except StoreError:
        return {}


def facts(run: Run) -> RunFacts | None:
    """Who holds what in the run; None until a worker has begun it."""
    if run.id == recorded_run.ID:
        return recorded_run.facts()
    return _facts(str(store().home), run.id) if run.done else store().facts(run.id)


@st.cache_resource(show_spinner=False, max_entries=48)
def _facts(home: str, run_id: str) -> RunFacts | None:
    return store().facts(run_id)

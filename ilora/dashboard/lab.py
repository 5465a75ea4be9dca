"""The store and the workers as the pages see them: opened once per server, with a worker warm before anybody presses Run."""

from dataclasses import replace

import pandas as pd
import streamlit as st

from ilora import jobs, recorded
from ilora.database import default_home
from ilora.records import Array, Round, RunFacts
from ilora.store import Run, Store, StoreError


def store() -> Store:
    """The store of this server."""
    return _open(str(default_home()))


@st.cache_resource(show_spinner=False, max_entries=4)
def _open(home: str) -> Store:
    opened = Store()
    jobs.tend(opened)
    return opened


def find(run_id: str | None) -> Run | None:
    """The run of that id as it stands now; None if there is none."""
    if not run_id:
        return None
    if run_id == recorded.ID:
        return recorded.run()
    try:
        return store().run(run_id)
    except StoreError:
        return None


def known(run: Run) -> bool:
    """Whether this version knows everything that the run's experiment names."""
    try:
        return bool(run.experiment)
    except ValueError:
        return False


def history(run: Run) -> pd.DataFrame:
    """The metrics of the run's finished rounds."""
    return recorded.history() if run.id == recorded.ID else store().history(run.id)


def load_round(run: Run, index: int) -> Round | None:
    """A finished round without its factors; None if its file is damaged or gone."""
    if run.id == recorded.ID:
        return recorded.round(index)
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
    if run_id == recorded.ID:
        start = f"{layer}/"
        kept = recorded.round(index).factors
        return {name.removeprefix(start): array for name, array in kept.items() if name.startswith(start)}
    return store().factors(run_id, index, layer)


def facts(run: Run) -> RunFacts | None:
    """Who holds what in the run; None until a worker has begun it."""
    if run.id == recorded.ID:
        return recorded.facts()
    return _facts(str(store().home), run.id) if run.done else store().facts(run.id)


@st.cache_resource(show_spinner=False, max_entries=48)
def _facts(home: str, run_id: str) -> RunFacts | None:
    return store().facts(run_id)

"""A recorded run of the default experiment that comes with the program, for pages to show before anybody has run anything.

`python scripts/record_run.py` makes it: a run's archive, its factors in half precision and of three layers only.
"""

import json
import struct
import zipfile
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load

from ilora.lab.runs.store import Run
from ilora.records import Round, RunFacts
from ilora.tasks import data_folder

if TYPE_CHECKING:
    import pandas as pd

FILE = data_folder() / "recorded-run.zip"
ID = "recorded"


def run() -> Run:
    """The recorded run, as a finished one of the store."""
    about = _about()
    done = len(about["rounds"])
    return Run(
        id=ID,
        name=about["name"],
        note=about["note"],
        group="",
        status="finished",
        wanted="run",
        created=0.0,
        started=None,
        ended=None,
        rounds=done,
        done=done,
        progress=0.0,
        seconds_per_round=None,
        error="",
        worker="",
        experiment_json=json.dumps(about["experiment"]),
        last=about["rounds"][-1],
    )


def history() -> "pd.DataFrame":
    """The metrics of its rounds, as `Store.history` gives them."""
    import pandas as pd

    return pd.DataFrame(_about()["rounds"]).set_index("index", drop=False).rename_axis("round")


def facts() -> RunFacts:
    """Who holds what."""
    return RunFacts.from_json(json.dumps(_about()["facts"]))


@lru_cache(maxsize=32)
def round(index: int) -> Round:
    """One of its rounds, with the factors of some of its layers."""
    with zipfile.ZipFile(FILE) as archive:
        data = archive.read(f"round-{index:04d}.safetensors")
    arrays = load(data)
    return Round.from_parts(
        _about()["rounds"][index - 1],
        {name: arrays[name].astype(np.float32) if name.startswith("factors/") else arrays[name] for name in _order(data)},
    )


def _order(data: bytes) -> list[str]:
    """The names of the arrays in the order in which they were given."""
    (length,) = struct.unpack("<Q", data[:8])
    order: list[str] = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["order"])
    return order


@lru_cache(maxsize=1)
def _about() -> dict[str, Any]:
    with zipfile.ZipFile(FILE) as archive:
        about: dict[str, Any] = json.loads(archive.read("run.json"))
    return about

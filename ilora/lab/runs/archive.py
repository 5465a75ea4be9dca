"""Archive: one run as one zip file, for another machine.

What is in such a file is never executed, and an import becomes visible only after everything in it was checked.
"""

import json
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import IO, Any

import numpy as np

from ilora.experiment import Experiment
from ilora.lab.runs.store import Store, StoreError
from ilora.records import BINS, MOST_PAIRED, SCORE, Round, RunFacts
from ilora.tensor_files import read_tensors

FORMAT = "ilora-lab-run-1"
MOST_BYTES = 4 * 2**30  # of everything in the zip file, unpacked
MOST_JSON_BYTES = 64 * 2**20
UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError)  # what zipfile raises
COUNTED = ("index", "floats_up", "floats_down", "bytes_up", "bytes_down")
MOST_THREADS = 256
MOST_IN_PICTURE = 10_000_000  # numbers
NO_RUN = "import takes only a file that `python -m ilora export` wrote."

Archive = Path | IO[bytes]


def export_run(store: Store, run_id: str, target: Archive) -> None:
    """Write the finished rounds of a run, and what the next one needs, to `target`."""
    run, facts = store.run(run_id), store.read("SELECT facts FROM runs WHERE id = ?", (run_id,))[0]["facts"]
    rows = store.read("SELECT metrics FROM rounds WHERE run = ? AND number <= ? ORDER BY number", (run_id, run.done))
    about = {
        "format": FORMAT,
        "name": run.name,
        "note": run.note,
        "experiment": json.loads(run.experiment_json),
        "facts": json.loads(facts) if facts else None,
        "times": {"created": run.created, "started": run.started, "ended": run.ended, "seconds_per_round": run.seconds_per_round},
        "rounds": [json.loads(row["metrics"]) for row in rows],
    }
    paths = [store.round_file(run_id, index) for index in range(1, run.done + 1)]
    if run.done and run.status != "running":
        paths.append(store.state_file(run_id, run.done))
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("run.json", json.dumps(about))
            archive.writestr("log.txt", store.read_log(run_id))
            for path in paths:
                archive.write(path, path.name)
    except OSError as error:
        raise StoreError(f"run {run_id} cannot be written to {_name(target)} ({error}); choose another file.") from None


def import_run(store: Store, source: Archive) -> str:
    """Add the run in `source` under a new id, and return that; StoreError, and nothing is changed, if it is not a whole run."""
    try:
        with zipfile.ZipFile(source) as archive:
            about, experiment = _read_about(archive)
            _check_members(archive, len(about["rounds"]))
            run_id = store.new_folder(experiment.method)
            try:
                _unpack(archive, store.folder(run_id))
                _check_rounds(store, run_id, about, experiment)
                _enter(store, run_id, about, experiment)
            except BaseException:
                shutil.rmtree(store.folder(run_id), ignore_errors=True)
                raise
            return run_id
    except FileNotFoundError:
        raise StoreError(f"{_name(source)} does not exist; {NO_RUN}") from None
    except UNREADABLE as error:
        raise StoreError(f"{_name(source)} is truncated or not a zip file ({error}); {NO_RUN}") from None
    except StoreError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise StoreError(f"{_name(source)} is not a run ({_text(error)}); {NO_RUN}") from None


def _read_about(archive: zipfile.ZipFile) -> tuple[dict[str, Any], Experiment]:
    """Read and check run.json, and the experiment in it."""
    if archive.getinfo("run.json").file_size > MOST_JSON_BYTES:
        raise ValueError("run.json is too large")
    about = json.loads(archive.read("run.json"))
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"run.json is not of the format {FORMAT}")
    for name, kind in (("name", str), ("note", str), ("experiment", dict), ("times", dict), ("rounds", list)):
        if not isinstance(about[name], kind):
            raise ValueError(f"{name} in run.json is not a {kind.__name__}")
    for name in ("created", "started", "ended", "seconds_per_round"):
        if not isinstance(about["times"][name], int | float | None):
            raise ValueError(f"{name} in run.json is not a number")
    experiment = Experiment.from_dict(about["experiment"])
    if len(about["rounds"]) > experiment.rounds or (about["rounds"] and about["facts"] is None):
        raise ValueError("it has more rounds than its experiment, or rounds without facts")
    return about, experiment


def _check_members(archive: zipfile.ZipFile, rounds: int) -> None:
    """See that the zip file holds exactly what a run of so many finished rounds consists of, and no more than MOST_BYTES."""
    names = archive.namelist()
    needed = {"run.json"} | {f"round-{index:04d}.safetensors" for index in range(1, rounds + 1)}
    allowed = needed | {"log.txt"} | ({f"state-{rounds:04d}.safetensors"} if rounds else set())
    if len(set(names)) < len(names) or not needed <= set(names) <= allowed:
        strange = sorted(needed.symmetric_difference(names) - (allowed - needed)) or ["one member twice"]
        raise ValueError(f"members that are missing, foreign or double: {', '.join(strange[:3])}")
    if sum(info.file_size for info in archive.infolist()) > MOST_BYTES:
        raise ValueError(f"it unpacks to more than {MOST_BYTES / 2**30:g} GiB")


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    """Copy the members, whose names have been checked, into `folder`; zipfile checks each one's length and checksum."""
    for info in archive.infolist():
        if info.filename != "run.json":
            with archive.open(info) as source, (folder / info.filename).open("wb") as target:
                shutil.copyfileobj(source, target, 2**20)


def _check_rounds(store: Store, run_id: str, about: Mapping[str, Any], experiment: Experiment) -> None:
    """See that every round's arrays and metrics fit together and to the facts."""
    if about["facts"] is not None:
        facts = RunFacts.from_json(json.dumps(about["facts"]))
        K = experiment.clients
        if facts.clients != K or {len(facts.ranks), len(facts.samples), len(facts.adapter_parameters)} != {K}:
            raise ValueError("its facts are not about the clients of its experiment")
        if facts.class_counts.shape != (K, len(facts.classes)) or len(facts.layers) != len(facts.shapes):
            raise ValueError("its facts contradict each other")
        if not (isinstance(facts.threads, int) and 0 < facts.threads <= MOST_THREADS):
            raise ValueError(f"its facts say that it ran on {facts.threads!r} threads")
    for index, metrics in enumerate(about["rounds"], start=1):
        _check_metrics(metrics, index)
        path = store.round_file(run_id, index)
        _check_round(Round.from_parts(metrics, _tensors(path)), facts, path.name)
    state = store.state_file(run_id, len(about["rounds"]))
    if state.exists():
        _tensors(state)


def _tensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_tensors(path, NO_RUN)
    except StoreError:
        raise ValueError(f"{path.name} in it is truncated or foreign") from None


def _check_metrics(metrics: Any, index: int) -> None:
    scalars = [f for f in fields(Round) if f.type in (int, float)]
    needed = {f.name for f in scalars if f.default is MISSING}
    plain = {name for name in metrics if not name.startswith(SCORE)} if isinstance(metrics, dict) else set()
    if not needed <= plain <= {f.name for f in scalars}:
        raise ValueError(f"the metrics of round {index} are not those of a round")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int if name in COUNTED else int | float):
            raise ValueError(f"{name} of round {index} is {value!r}")
    if metrics["index"] != index:
        raise ValueError(f"round {index} calls itself {metrics['index']}")


def _check_round(round: Round, facts: RunFacts, file: str) -> None:
    """See that the arrays of a round have the shapes that records.py promises."""
    columns = {np.shape(column)[:1] for column in round.clients.values()}
    complete = {"id", "rank", "samples", "weight"} <= set(round.clients) and set(round.layers) == set(facts.layers)
    if not complete or len(columns) != 1 or len(next(iter(columns))) != 1:
        raise ValueError(f"{file} is about other clients or layers")
    C = len(round.clients["id"])
    M = min(C, MOST_PAIRED)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("drift_clients", "movement_norm", "broadcast_error"), (C,))
    shapes |= dict.fromkeys(("cosines", "overlap_columns", "overlap_rows", "overlap_chance", "angles"), (M, M))
    shapes |= dict.fromkeys(("overlap_columns_global", "overlap_rows_global", "angles_global"), (M,))
    for layer, record in round.layers.items():
        for f in fields(record):
            value = getattr(record, f.name)
            good = isinstance(value, int | float) if f.type is float else np.ndim(value) == 1 or f.name in shapes
            if not good or np.shape(value) != shapes.get(f.name, np.shape(value)):
                raise ValueError(f"{f.name} of layer {layer} in {file} has another shape")
    for name, array in round.pictures.items():
        shape = {"bins": (3, BINS), "single bins": (3, BINS)}.get(name.rpartition("/")[2], array.shape)
        if array.shape != shape or array.ndim > 4 or array.size > MOST_IN_PICTURE or not np.isfinite(array).all():
            raise ValueError(f"picture {name} in {file} has another shape")
    for name, array in round.factors.items():
        if name.rsplit("/", 2)[0] not in facts.layers or array.ndim not in (2, 3):
            raise ValueError(f"{name} in {file} is no factor")


def _enter(store: Store, run_id: str, about: Mapping[str, Any], experiment: Experiment) -> None:
    """Make the run visible, with all its rounds at once."""
    done, times = len(about["rounds"]), about["times"]
    values = {
        "id": run_id,
        "name": " ".join(about["name"].split())[:200] or run_id,
        "note": about["note"],
        "compare": "",
        "experiment": experiment.to_json(),
        "facts": json.dumps(about["facts"]) if about["facts"] else "",
        "status": "finished" if done == experiment.rounds else "stopped",
        "wanted": "run",
        "created": times["created"] or 0.0,
        "queued": times["created"] or 0.0,
        "started": times["started"],
        "ended": times["ended"],
        "rounds": experiment.rounds,
        "done": done,
        "seconds_per_round": times["seconds_per_round"],
    }
    with store.transaction() as db:
        db.execute(f"INSERT INTO runs ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", list(values.values()))
        for index, metrics in enumerate(about["rounds"], start=1):
            db.execute("INSERT INTO rounds VALUES (?, ?, ?)", (run_id, index, json.dumps(metrics)))


def _name(archive: Archive) -> str:
    return str(archive) if isinstance(archive, Path) else "the file"


def _text(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).rstrip(".")

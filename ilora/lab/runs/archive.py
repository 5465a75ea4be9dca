"""Archive: one run as one zip file, for another machine.

What is in such a file is never executed, and an import becomes visible only after everything in it was checked.
"""

import json
import os
import re
import secrets
import shutil
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ilora.experiment import Experiment
from ilora.lab.runs.archive_checks import FORMAT, check_about, check_facts, check_round
from ilora.lab.runs.archive_limits import FREE_BYTES, MOST_BYTES, MOST_JSON_BYTES, MOST_LOG, MOST_RATIO, Limits, limits_of
from ilora.lab.runs.folders import UNPACKING
from ilora.lab.runs.metrics import check_metrics, check_ranges
from ilora.lab.runs.run import label
from ilora.lab.runs.seals import seal_of
from ilora.lab.runs.store import Store, StoreError, default_name
from ilora.records import Round, RunFacts
from ilora.tensor_files import check_tensors, read_tensors

UNREADABLE = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError)  # what zipfile raises
NO_RUN = "import takes only a file that `python -m ilora export` wrote."

Archive = Path | IO[bytes]


def export_run(store: Store, run_id: str, target: Archive) -> None:
    """Write the finished rounds of a run, and what the next one needs, to `target`: the whole file, or nothing of it.

    StoreError if something of the run is damaged or missing, or the file cannot be written.
    """
    run, facts = store.sound_run(run_id), store.row(run_id)["facts"]
    rounds = [store.round_row(run_id, index) for index in range(1, run.done + 1)]
    about = {
        "format": FORMAT,
        "name": run.name,
        "note": run.note,
        "experiment": json.loads(run.experiment_json),
        "facts": json.loads(facts) if facts else None,
        "times": {"created": run.created, "started": run.started, "ended": run.ended, "seconds_per_round": run.seconds_per_round},
        "rounds": [json.loads(row["metrics"]) for row in rounds],
    }
    paths = [store.checked_round_file(run_id, row["number"]) for row in rounds]
    if run.done and run.status != "running" and (rounds[-1]["state"] or store.state_file(run_id, run.done).exists()):
        paths.append(store.checked_state_file(run_id, run.done))
    try:
        with _whole_or_nothing(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr("run.json", json.dumps(about))
            archive.writestr("log.txt", store.read_log(run_id, MOST_LOG))
            for path in paths:
                archive.write(path, path.name)
    except OSError as error:
        store.existing_folder(run_id)
        raise StoreError(f"run {run_id} cannot be written to {_name(target)} ({error}); choose another file.") from None


@contextmanager
def _whole_or_nothing(target: Archive) -> Iterator[Archive]:
    """What to write into so that `target` appears at the end of the block, or not at all."""
    if not isinstance(target, Path):
        yield target
        return
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def import_run(store: Store, source: Archive) -> str:
    """Add the run in `source` under a new id, and return that; StoreError, and nothing is changed, if it is not a whole run."""
    folder = store.home / "runs" / f"{UNPACKING}{secrets.token_hex(4)}"
    try:
        with zipfile.ZipFile(source) as archive:
            about, experiment, facts = _read_about(archive)
            rounds = about["rounds"]
            _check_members(archive, len(rounds), limits_of(experiment, facts), _size(source))
            try:
                _unpack(archive, folder)
                digests = _check_rounds(folder, rounds, facts)
                return _enter(store, folder, about, experiment, digests)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except StoreError:
        raise
    except FileNotFoundError:
        raise StoreError(f"{_name(source)} does not exist; {NO_RUN}") from None
    except UNREADABLE as error:
        raise StoreError(f"{_name(source)} is truncated or not a zip file ({_text(error)}); {NO_RUN}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise StoreError(f"{_name(source)} is not a run ({_text(error)}); {NO_RUN}") from None


def _read_about(archive: zipfile.ZipFile) -> tuple[dict[str, Any], Experiment, RunFacts | None]:
    """Read and check run.json: all of it, its experiment and its facts."""
    if archive.getinfo("run.json").file_size > MOST_JSON_BYTES:
        raise ValueError("run.json is too large")
    try:
        about: dict[str, Any] = json.loads(archive.read("run.json"))
    except RecursionError:
        raise ValueError("run.json is nested too deeply") from None
    experiment = check_about(about)
    facts = None if about["facts"] is None else check_facts(about["facts"], experiment)
    for index, metrics in enumerate(about["rounds"], start=1):
        check_metrics(metrics, index)
        check_ranges(metrics, index)
    return about, experiment, facts


def _check_members(archive: zipfile.ZipFile, rounds: int, limits: Limits, packed: int) -> None:
    """See that the zip file holds exactly what a run of so many finished rounds consists of, and no more than that can be."""
    names = archive.namelist()
    needed = {"run.json"} | {f"round-{index:04d}.safetensors" for index in range(1, rounds + 1)}
    allowed = needed | {"log.txt"} | ({f"state-{rounds:04d}.safetensors"} if rounds else set())
    if len(set(names)) < len(names) or not needed <= set(names) <= allowed:
        strange = sorted(needed.symmetric_difference(names) - (allowed - needed)) or ["one member twice"]
        raise ValueError(f"members that are missing, foreign or double: {', '.join(strange[:3])}")
    for info in archive.infolist():
        if info.file_size > limits.of(info.filename):
            raise ValueError(f"{info.filename} has {info.file_size:,} bytes; such a run has at most {limits.of(info.filename):,}")
    unpacked = sum(info.file_size for info in archive.infolist())
    if unpacked > min(MOST_BYTES, FREE_BYTES + MOST_RATIO * packed):
        raise ValueError(f"it unpacks to {unpacked:,} bytes from {packed:,}")


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    """Copy the members, whose names have been checked, into `folder`; zipfile checks each one's length and checksum."""
    with _writing(folder):
        folder.mkdir(parents=True)
    for info in archive.infolist():
        if info.filename != "run.json":
            with archive.open(info) as source, _writing(folder), (folder / info.filename).open("wb") as target:
                while block := _block(source):
                    target.write(block)
                target.flush()
                os.fsync(target.fileno())


def _block(source: IO[bytes]) -> bytes:
    """The next part of a member; ValueError, not OSError, if it cannot be read, so that it is not taken for the disk's fault."""
    try:
        return source.read(2**20)
    except UNREADABLE as error:
        raise ValueError(f"a member of it is truncated or damaged: {error}") from None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{folder.parent} cannot be written ({error}); see that the disk has space.") from None


def _check_rounds(folder: Path, rounds: list[dict[str, Any]], facts: RunFacts | None) -> list[tuple[str, str]]:
    """See that every round's arrays and metrics fit together and to the facts; returns the digests of arrays and state."""
    digests, first = [], None
    for index, metrics in enumerate(rounds, start=1):
        path = folder / f"round-{index:04d}.safetensors"
        with _foreign(path):
            round = Round.from_parts(metrics, read_tensors(path, NO_RUN))
            digests.append((check_tensors(path, NO_RUN), ""))
        assert facts is not None  # rounds without facts were refused
        check_round(round, first, facts, path.name)
        first = first or round
    state = folder / f"state-{len(rounds):04d}.safetensors"
    if state.exists():
        with _foreign(state):
            digests[-1] = (digests[-1][0], check_tensors(state, NO_RUN))
    return digests


@contextmanager
def _foreign(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise ValueError(f"{path.name} in it is truncated or foreign") from None


def _enter(store: Store, folder: Path, about: Mapping[str, Any], experiment: Experiment, digests: list[tuple[str, str]]) -> str:
    """Make the run visible, with all its rounds at once; returns its id."""
    done, times = len(about["rounds"]), about["times"]
    values = {
        "name": label(about["name"]) or default_name(experiment),
        "note": about["note"],
        "compare": "",
        "experiment": experiment.to_json(),
        "facts": json.dumps(about["facts"]) if about["facts"] else "",
        "status": "finished" if done == experiment.rounds else "stopped",
        "wanted": "run",
        "created": float(times["created"] or 0.0),
        "started": times["started"],
        "ended": times["ended"],
        "rounds": experiment.rounds,
        "done": done,
        "seconds_per_round": times["seconds_per_round"],
    }
    with store.transaction() as db:
        run_id = store.enter(db, experiment.method, values)
        try:
            for index, metrics in enumerate(about["rounds"], start=1):
                row = (run_id, index, json.dumps(metrics), *digests[index - 1])
                db.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?)", (*row, seal_of(row)))
            with _writing(folder):
                store.folder(run_id).rmdir()
                os.rename(folder, store.folder(run_id))
        except BaseException:
            shutil.rmtree(store.folder(run_id), ignore_errors=True)
            raise
    return run_id


def _size(source: Archive) -> int:
    """Bytes of the zip file itself: what is said inside of it may be a lie."""
    if isinstance(source, Path):
        return source.stat().st_size
    return source.seek(0, os.SEEK_END)


def _name(archive: Archive) -> str:
    return str(archive) if isinstance(archive, Path) else "the file"


def _text(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).rstrip(".")

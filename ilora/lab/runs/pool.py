"""Jobs: what the app, the command line and any other process say to the workers, and the care for the workers themselves."""

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from ilora.experiment import Experiment
from ilora.lab.runs import leases
from ilora.lab.runs.leases import Worker
from ilora.lab.runs.processes import identity, lives, this_process
from ilora.lab.runs.store import Store, StoreError
from ilora.tasks.places import environment_for_python

START_AGAIN_SECONDS = 30  # after a worker that failed to start
PATIENCE_SECONDS = 0.5  # a page waits no longer for a store that another process has locked
UPKEEP_SECONDS = 5
KEEP_LOGS_SECONDS = 7 * 24 * 3_600

_children: list["subprocess.Popen[bytes]"] = []


def submit(store: Store, experiment: Experiment, name: str = "", *, note: str = "", group: str = "", wanted: str = "run") -> str:
    """Put an experiment into the queue; returns the run's id. With wanted="step" it pauses after its first round."""
    return store.add(experiment, name, note=note, group=group, wanted=wanted)


def pause(store: Store, run_id: str) -> None:
    """Pause after the round in flight."""
    leases.want(store, run_id, "pause")


def step(store: Store, run_id: str) -> None:
    """Go on for one round, then pause; StoreError if the run is finished."""
    leases.want(store, run_id, "step")


def resume(store: Store, run_id: str) -> None:
    """Go on from the last finished round, also after a stop or an error; StoreError if the run is finished."""
    leases.want(store, run_id, "run")


def stop(store: Store, run_id: str) -> None:
    """Stop at once; the round in flight is dropped, the finished ones stay."""
    leases.want(store, run_id, "stop")


def cores() -> int:
    """The CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def most_workers() -> int:
    """How many workers there may be unless somebody says otherwise: one for every two cores, four at most."""
    return min(4, max(1, cores() // 2))


def tend(store: Store, most: int | None = None) -> str:
    """Put the runs of dead workers back into the queue, and start a worker unless one is free or `most` are there.

    Takes a few milliseconds, for a page to call at every poll. Returns one line to show if workers fail to start or the store
    cannot be used now, else "".
    """
    try:
        with store.patience(PATIENCE_SECONDS):
            return _tend(store, most_workers() if most is None else most)
    except StoreError as error:
        return str(error)


def _tend(store: Store, most: int, only_if_needed: bool = False) -> str:
    sweep(store)
    known = leases.workers(store)
    free = any(worker.kind == "pool" and worker.state in ("starting", "idle") for worker in known)
    needed = not only_if_needed or leases.somebody_waits(store)
    if needed and not free and sum(worker.kind == "pool" for worker in known) < most:
        _start(store, most)
    failed = [worker for worker in known if worker.state == "failed"]
    return f"No worker starts: {_last_line(log_file(store, failed[0].id))}" if failed else ""


def keep_up(home: Path | None = None, ended: threading.Event | None = None) -> threading.Thread:
    """Look after the store every UPKEEP_SECONDS in a thread of its own, so that runs go on with no page open.

    Unlike `tend` it starts a worker only for a run that waits. Returns the thread, which ends when `ended` is set or with the
    process.
    """
    over = ended or threading.Event()

    def look_after() -> None:
        store: Store | None = None
        while not over.is_set():
            with suppress(StoreError):  # a page that is open says so
                store = store or Store(home)
                _tend(store, most_workers(), only_if_needed=True)
            over.wait(UPKEEP_SECONDS)

    thread = threading.Thread(target=look_after, name="upkeep", daemon=True)
    thread.start()
    return thread


def sweep(store: Store) -> None:
    """Take runs out of the hands of dead workers; they wait for another worker, or fail after too many deaths."""
    _children[:] = [child for child in _children if child.poll() is None]
    for worker in leases.workers(store):
        if worker.state == "failed":
            if not 0 <= time.time() - worker.heartbeat <= START_AGAIN_SECONDS:
                leases.abandon(store, worker.id)
        elif not lives(worker):
            _bury(store, worker)


def log_file(store: Store, worker_id: str) -> Path:
    """Everything that a pool worker printed."""
    return store.home / "logs" / f"{worker_id}.log"


def _bury(store: Store, worker: Worker) -> None:
    if worker.state == "starting" and worker.kind == "pool":
        leases.register(store, replace(worker, state="failed", heartbeat=time.time()))
    else:
        for run_id in leases.abandon(store, worker.id):
            store.log(run_id, f"{worker.id} ended without a word")


def _start(store: Store, most: int) -> None:
    """Start a worker in a session of its own, so that it outlives the app while it trains."""
    new = this_process(leases.new_id("worker"), "pool", "starting")
    if not leases.reserve(store, new, most, START_AGAIN_SECONDS):
        return
    try:
        child = _spawn(store, new.id)
        leases.confirm(store, new.id, child.pid, identity(child.pid))
        _children.append(child)  # only now may another thread reap it
    except (OSError, psutil.NoSuchProcess):
        leases.set_state(store, new.id, "failed")


def _spawn(store: Store, worker_id: str) -> "subprocess.Popen[bytes]":
    path = log_file(store, worker_id)
    path.parent.mkdir(exist_ok=True)
    _remove_old_logs(path.parent)
    arguments = ["worker", "--id", worker_id, "--launcher", str(os.getpid())]
    with path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-u", "-X", "faulthandler", "-m", "ilora", *arguments],
            env=environment_for_python() | {"ILORA_HOME": str(store.home.resolve())},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _remove_old_logs(folder: Path) -> None:
    for path in folder.glob("*.log"):
        if time.time() - path.stat().st_mtime > KEEP_LOGS_SECONDS:
            path.unlink(missing_ok=True)


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it ended without a word") + f" ({path})"

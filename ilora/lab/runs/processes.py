"""Processes: whether a worker still lives, without a look at the clock, which may be set while it trains."""

import os
import platform
import time
from pathlib import Path

import psutil

from ilora.lab.runs.leases import Worker

SILENT_SECONDS = 120  # a worker that cannot be looked at counts as dead after so long without a heartbeat

_heard: dict[
    str, tuple[float, float]
] = {}  # worker -> its last heartbeat, and when this process first saw that, on its own clock


def this_process(worker_id: str, kind: str, state: str) -> Worker:
    """This process as a worker."""
    return Worker(worker_id, kind, platform.node(), os.getpid(), identity(os.getpid()), state, time.time())


def identity(pid: int) -> str:
    """What tells a process from every other that had or will have its pid; psutil.NoSuchProcess if there is none."""
    process = psutil.Process(pid)
    if not psutil.LINUX:
        return f"began {process.create_time():.2f}"
    try:
        started = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        raise psutil.NoSuchProcess(pid) from None
    return f"{boot} {started}"  # in ticks since that boot


def lives(worker: Worker) -> bool:
    """Whether the worker's process is there; of one on another machine, or of an earlier version, whether it is heard of."""
    if worker.host != platform.node() or not worker.identity:
        return _is_heard_of(worker)
    try:
        return identity(worker.pid) == worker.identity and psutil.Process(worker.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _is_heard_of(worker: Worker) -> bool:
    """Whether its heartbeat has changed within SILENT_SECONDS, as far as this process has been watching."""
    heartbeat, since = _heard.get(worker.id, (None, 0.0))
    now = time.monotonic()
    if heartbeat != worker.heartbeat:
        _heard[worker.id] = worker.heartbeat, now
        return True
    return now - since < SILENT_SECONDS

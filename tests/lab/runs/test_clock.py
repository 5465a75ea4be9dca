"""The wall clock is neither identity nor age: set by hours, it changes no owner, no order and no life."""

import time

import psutil
import pytest

from ilora.lab.runs import leases, pool, processes, worker
from ilora.lab.runs.leases import Worker
from tests.stored_runs import EXPERIMENT, stored_run

SHIFTS = (-7_200, -60, 60, 7_200)


def shift(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Set the clock of this process, and what follows from it, by so many seconds."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    if psutil.LINUX:
        from psutil import _pslinux

        booted = _pslinux.boot_time
        monkeypatch.setattr(_pslinux, "boot_time", lambda: booted() + seconds)


@pytest.mark.parametrize("seconds", SHIFTS)
def test_a_run_that_trains_stays_with_its_worker(store, monkeypatch, seconds):
    run_id = store.add(EXPERIMENT, worker="mine")
    leases.register(store, processes.this_process("mine", "cli", "busy"))
    shift(monkeypatch, seconds)
    pool.sweep(store)
    assert (store.run(run_id).status, store.run(run_id).worker) == ("running", "mine")


@pytest.mark.parametrize("seconds", SHIFTS)
@pytest.mark.parametrize("far", [{"host": "another"}, {"identity": ""}], ids=["another machine's", "an earlier version's"])
def test_a_worker_that_is_only_heard_of_keeps_its_run(store, monkeypatch, seconds, far):
    run_id = store.add(EXPERIMENT, worker="far")
    me = vars(processes.this_process("far", "pool", "busy"))
    leases.register(store, Worker(**me | far))
    pool.sweep(store)
    shift(monkeypatch, seconds)
    pool.sweep(store)
    assert store.run(run_id).status == "running"
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + processes.SILENT_SECONDS + 1)
    leases.register(store, Worker(**me | far | {"heartbeat": me["heartbeat"] - 3_600}))  # its own clock was set back
    pool.sweep(store)
    assert store.run(run_id).status == "running"


@pytest.mark.parametrize("seconds", SHIFTS)
def test_no_run_overtakes_another(store, monkeypatch, seconds):
    first = store.add(EXPERIMENT)
    paused = store.add(EXPERIMENT, worker="w", wanted="pause")
    leases.abandon(store, "w")
    shift(monkeypatch, seconds)
    second = store.add(EXPERIMENT)
    leases.want(store, paused, "run")
    assert [run.id for run in store.runs()] == [second, paused, first]
    claimed = [leases.claim(store, "w") for _ in range(3)]
    assert [run.id for run in claimed if run] == [first, second, paused]


@pytest.mark.parametrize("seconds", SHIFTS)
def test_a_failed_start_bars_no_worker_for_longer_than_it_says(store, monkeypatch, seconds):
    leases.register(store, Worker(**vars(processes.this_process("a", "pool", "failed")) | {"heartbeat": time.time() + seconds}))
    pool.sweep(store)
    assert bool(leases.workers(store)) == (seconds == 0)
    assert leases.reserve(store, processes.this_process("b", "pool", "starting"), 1, pool.START_AGAIN_SECONDS)


@pytest.mark.parametrize("seconds", SHIFTS)
def test_an_import_under_way_is_not_swept_out(store, monkeypatch, seconds):
    unpacking = store.home / "runs" / ".import-0000"
    unpacking.mkdir(parents=True)
    shift(monkeypatch, seconds)
    store.delete(stored_run(store))
    assert unpacking.exists()


def test_a_process_is_known_by_more_than_its_pid(store):
    me = processes.this_process("w", "cli", "busy")
    assert processes.lives(me)
    assert me.identity == processes.identity(me.pid)
    assert not processes.lives(Worker(**vars(me) | {"identity": processes.identity(psutil.Process().ppid())}))
    assert worker.this_process is processes.this_process

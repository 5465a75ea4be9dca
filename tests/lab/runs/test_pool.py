"""Runs train in processes of their own, obey from anywhere, and survive the death of a worker to the same numbers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from ilora import Experiment
from ilora.lab.runs import leases, pool, processes, worker
from ilora.lab.runs.store import Run, Store
from ilora.lab.runs.worker import Training, default_threads
from ilora.simulation.round_loop import Simulation
from ilora.tasks.download import DownloadError

ROOT = Path(__file__).resolve().parents[3]
EXPERIMENT = Experiment(ranks=(2, 4), targets=("value",), rounds=5, local_steps=2)
PLAIN = EXPERIMENT.replace(method="fedit")
METHODS = [("ilora", "corrected"), ("ilora", "official"), ("flora", ""), ("flexlora", "")]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of its own, whose workers train on one thread and are gone afterwards."""
    monkeypatch.setenv("ILORA_THREADS", "1")
    store = Store(tmp_path)
    yield store
    end_pool(store)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store whose warm worker serves one test after the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILORA_THREADS", "1")
        store = Store(tmp_path_factory.mktemp("shared"))
        yield store
        end_pool(store)


def end_pool(store: Store) -> None:
    for process in pool_workers(store):
        process.kill()
        process.wait(10)


def pool_workers(store: Store) -> list[psutil.Process]:
    """The living workers of the store's pool."""
    own = os.getpid()
    return [
        psutil.Process(w.pid) for w in leases.workers(store) if w.kind == "pool" and w.pid != own and psutil.pid_exists(w.pid)
    ]


def wait_for(condition: Callable[[], object], seconds: float = 120) -> float:
    """Wait until something holds; returns how many seconds that took."""
    since = time.monotonic()
    while not condition():
        assert time.monotonic() - since < seconds, "nothing happened"
        time.sleep(0.01)
    return time.monotonic() - since


def tend_until(store: Store, run_id: str, condition: Callable[[Run], bool]) -> Run:
    """Tend as the app's poll does, until a run is as it should be."""

    def holds() -> bool:
        pool.tend(store, 1)
        return condition(store.run(run_id))

    wait_for(holds)
    return store.run(run_id)


def assert_undisturbed(store: Store, run_id: str) -> None:
    """See that a stored run has, bit for bit, the numbers of the same experiment trained in one go."""
    torch.set_num_threads(default_threads())
    simulation = Simulation(store.run(run_id).experiment)
    for index in range(1, store.run(run_id).rounds + 1):
        expected, found = simulation.next_round(), store.round(run_id, index)
        one, other = (replace(round, seconds=0, peak_megabytes=0).metrics() for round in (found, expected))
        np.testing.assert_equal(one, other)
        assert_same_bits(found.arrays(), expected.arrays())
    snapshot = store.snapshot(run_id)
    assert snapshot is not None
    assert_same_bits(snapshot, expected.snapshot)


def assert_same_bits(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert list(left) == list(right)
    assert [name for name in left if left[name].tobytes() != np.asarray(right[name]).tobytes()] == []


def train(store: Store, run_id: str, wanted: str = "run") -> str:
    return Training(store, leases.take(store, run_id, "here", wanted), "here", lambda held: False).finish()


def test_a_run_is_paused_stepped_resumed_and_stopped_from_another_process(shared: Store) -> None:
    run_id = pool.submit(shared, PLAIN.replace(rounds=1_000), wanted="step")
    assert tend_until(shared, run_id, lambda run: run.status == "paused").done == 1
    (process,) = pool_workers(shared)

    pool.step(shared, run_id)
    wait_for(lambda: shared.run(run_id).done == 2 and shared.run(run_id).status == "paused")
    pool.resume(shared, run_id)
    assert wait_for(lambda: shared.run(run_id).status == "running") < 1
    wait_for(lambda: shared.run(run_id).done >= 3)
    pool.pause(shared, run_id)
    wait_for(lambda: shared.run(run_id).status == "paused")

    other = pool.submit(shared, PLAIN.replace(rounds=1))  # the only worker gives the paused run back for it
    wait_for(lambda: shared.run(other).status == "finished")
    paused = shared.run(run_id)
    assert paused.status == "paused"

    pool.resume(shared, run_id)
    assert wait_for(lambda: shared.run(run_id).status == "running") < 1
    wait_for(lambda: shared.run(run_id).done > paused.done)
    pool.stop(shared, run_id)
    wait_for(lambda: shared.run(run_id).status == "stopped")
    stopped = shared.run(run_id)
    assert list(shared.history(run_id).index) == list(range(1, stopped.done + 1))
    assert [p.pid for p in pool_workers(shared)] == [process.pid]


def test_a_stop_does_not_wait_for_the_end_of_a_round(shared: Store) -> None:
    run_id = pool.submit(shared, PLAIN.replace(rounds=1, local_steps=50_000))
    tend_until(shared, run_id, lambda run: run.progress > 0)
    pool.stop(shared, run_id)
    assert wait_for(lambda: shared.run(run_id).status == "stopped") < 10
    assert shared.run(run_id).done == 0


def test_a_killed_worker_costs_a_run_nothing(shared: Store) -> None:
    run_id = pool.submit(shared, EXPERIMENT)
    tend_until(shared, run_id, lambda run: run.done >= 2)
    (victim,) = pool_workers(shared)
    victim.kill()
    victim.wait(10)
    pool.tend(shared, 1)
    interrupted = shared.run(run_id)
    assert interrupted.status == "interrupted"
    assert 2 <= interrupted.done < 5
    finished = tend_until(shared, run_id, lambda run: not run.active)
    assert (finished.status, finished.done, finished.error) == ("finished", 5, "")
    assert f"starts with round {interrupted.done + 1} of 5" in shared.read_log(run_id)
    assert_undisturbed(shared, run_id)


LAUNCHER = """
import sys, time
from pathlib import Path
from ilora import Experiment
from ilora.lab.runs import pool
from ilora.lab.runs.store import Store
store = Store(Path(sys.argv[1]))
run_id = pool.submit(store, Experiment(ranks=(2, 4), targets=("value",), rounds=5, local_steps=2))
while store.run(run_id).done < 1:
    pool.tend(store, 1)
    time.sleep(0.02)
"""


def test_a_worker_whose_launcher_dies_finishes_its_run_and_ends(store: Store) -> None:
    subprocess.run([sys.executable, "-c", LAUNCHER, str(store.home)], check=True, cwd=ROOT)
    (run,) = store.runs()
    assert run.status == "running"
    wait_for(lambda: not store.run(run.id).active)
    assert store.run(run.id).status == "finished"
    wait_for(lambda: not leases.workers(store) and not pool_workers(store))


@pytest.mark.parametrize(("method", "mode"), METHODS)
def test_a_run_that_a_new_process_takes_up_after_each_round_has_the_same_bits(store: Store, method: str, mode: str) -> None:
    options = {"mode": mode} if mode else {}
    run_id = store.add(Experiment(method=method, options=options, ranks=(2, 4), targets=("value",), rounds=2, local_steps=1))
    assert [train(store, run_id, "step") for _ in range(2)] == ["paused", "finished"]
    assert_undisturbed(store, run_id)


def test_a_crash_is_one_line_and_its_traceback_is_in_the_log(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes differ:\n  2 and 4")

    monkeypatch.setattr(worker, "Simulation", broken)
    run_id = store.add(PLAIN)
    assert train(store, run_id) == "failed"
    assert store.run(run_id).error == "Round 1 failed: shapes differ: 2 and 4 (RuntimeError)"
    assert "Traceback" in store.read_log(run_id)
    monkeypatch.undo()
    assert train(store, run_id, "step") == "paused"
    assert store.run(run_id).error == ""


def test_a_damaged_state_fails_the_run_with_its_file_and_keeps_its_rounds(store: Store) -> None:
    run_id = store.add(PLAIN)
    train(store, run_id, "step")
    os.truncate(store.state_file(run_id, 1), 100)
    assert train(store, run_id) == "failed"
    assert "state-0001.safetensors is missing, truncated or foreign" in store.run(run_id).error
    assert store.round(run_id, 1).index == 1


def test_a_stop_inside_a_round_drops_that_round_only(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PULSE_SECONDS", 0)
    run_id = store.add(PLAIN)

    def stop_in_the_second(status: str, position: float, round: object) -> None:
        if position > 1.3:
            pool.stop(store, run_id)

    run = leases.take(store, run_id, "here")
    assert Training(store, run, "here", lambda held: False, stop_in_the_second).finish() == "stopped"
    assert (store.run(run_id).status, store.run(run_id).done, store.run(run_id).progress) == ("stopped", 1, 0)


def test_a_run_deleted_or_taken_while_it_is_held_is_let_go(store: Store) -> None:
    for take_away in (store.delete, lambda run_id: leases.take(store, run_id, "there")):
        run_id = store.add(PLAIN, wanted="step", worker="here")

        def keep(held: float, run_id: str = run_id, act: Callable[[str], object] = take_away) -> bool:
            act(run_id)
            return True

        assert Training(store, store.run(run_id), "here", keep).finish() == "lost"


def test_workers_that_cannot_start_are_reported_in_one_line_and_not_multiplied(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torch.py").write_text("raise ImportError('no such thing as torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    run_id = pool.submit(store, PLAIN)
    wait_for(lambda: pool.tend(store, 2))
    line = pool.tend(store, 2)
    assert line.startswith("No worker starts: ")
    assert "no such thing as torch" in line
    assert "\n" not in line
    assert len(leases.workers(store)) == 1
    assert store.run(run_id).status == "queued"


def test_a_machine_without_room_for_a_process_is_reported(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", full)
    assert pool.tend(store, 1) == ""
    assert pool.tend(store, 1).startswith("No worker starts: ")


def test_tending_is_cheap_and_starts_no_more_workers_than_allowed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    started: list[subprocess.Popen[bytes]] = []

    def sleeper(*_: object, **__: object) -> subprocess.Popen[bytes]:
        started.append(popen(command))
        return started[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", sleeper)
    for _ in range(3):
        pool.tend(store, 2)
    assert len(started) == 1
    leases.set_state(store, leases.workers(store)[0].id, "busy")
    for _ in range(3):
        pool.tend(store, 2)
    assert len(started) == 2
    for entered in leases.workers(store):
        leases.set_state(store, entered.id, "busy")
    times = []
    for _ in range(20):
        since = time.perf_counter()
        pool.tend(store, 2)
        times.append(time.perf_counter() - since)
    assert len(started) == 2
    assert sorted(times)[10] < 0.01


def test_a_reused_pid_is_not_taken_for_the_worker(store: Store) -> None:
    run_id = store.add(PLAIN, worker="old")
    leases.register(store, replace(worker.this_process("old", "pool", "busy"), identity="an earlier process"))
    pool.sweep(store)
    assert store.run(run_id).status == "interrupted"
    assert "old ended without a word" in store.read_log(run_id)


def test_a_worker_on_another_machine_lives_by_its_heartbeat(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    far = replace(worker.this_process("far", "pool", "busy"), host="another", pid=1)
    run_id = store.add(PLAIN, worker="far")
    leases.register(store, far)
    pool.sweep(store)
    assert store.run(run_id).status == "running"
    monkeypatch.setattr(time, "monotonic", lambda now=time.monotonic: now() + 1_000)
    pool.sweep(store)
    assert store.run(run_id).status == "interrupted"


def test_a_zombie_is_dead(store: Store) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run_id = store.add(PLAIN, worker="child")
    me = worker.this_process("child", "cli", "busy")
    leases.register(store, replace(me, pid=child.pid, identity=processes.identity(child.pid)))
    pool.sweep(store)
    assert store.run(run_id).status == "running"
    child.send_signal(signal.SIGKILL)
    wait_for(lambda: psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE)
    pool.sweep(store)
    assert store.run(run_id).status == "interrupted"
    child.wait()


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_threads_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ILORA_THREADS", value)
    with pytest.raises(ValueError, match=f"ILORA_THREADS is '{value}'"):
        default_threads()


def test_a_download_is_logged_as_it_grows_and_can_be_stopped(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = store.add(PLAIN)
    told: list[str] = []

    def fetch(task: str, data: str, watch: Callable[[str, float], None]) -> None:
        assert (task, data) == ("digits", "")
        for share in (0.0, 0.31, 0.32, 0.6):
            time.sleep(1.5 * worker.PULSE_SECONDS)
            watch("Digits", share)
            told.append(store.download_of(run_id))
            if share > 0.5:
                pool.stop(store, run_id)
        time.sleep(1.5 * worker.PULSE_SECONDS)
        watch("Digits", 0.7)

    monkeypatch.setattr(worker, "fetch_task", fetch)
    assert train(store, run_id) == "stopped"
    assert store.run(run_id).status == "stopped"
    assert told == [f"downloads Digits, {share} is here" for share in ("0%", "31%", "31%", "60%")]


def test_a_download_that_fails_ends_the_run_with_its_sentence_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(*_: object) -> None:
        raise DownloadError("Digits cannot be fetched; try again.")

    run_id = store.add(PLAIN)
    monkeypatch.setattr(worker, "fetch_task", fetch)
    assert train(store, run_id) == "failed"
    assert store.run(run_id).error == "Digits cannot be fetched; try again."

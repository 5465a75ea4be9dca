"""Nothing stray is left behind, nothing half made appears, nothing is done to other processes, no cause is made up."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ilora.lab.runs import archive, leases, worker
from ilora.lab.runs.store import StoreError
from ilora.lab.runs.worker import Training
from tests.stored_runs import EXPERIMENT, SMALL, make_round, stored_run, train, trained


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_worker_has_left_goes_when_the_run_is_taken_over(store):
    run_id = trained(store, 2)
    folder = store.folder(run_id)
    whole = files(folder)
    for name in (
        ".round-0003.safetensors.ab12",
        ".state-0003.safetensors.ab12",
        "round-0003.safetensors",
        "state-0003.safetensors",
    ):
        (folder / name).write_bytes(b"half")
    (folder / "state-0000.safetensors").write_bytes(b"old")
    leases.take(store, run_id, "here")
    store.fall_back(run_id, "here")
    assert files(folder) == whole
    leases.end(store, run_id, "here", "stopped")
    assert train(store, run_id) == "finished"


KILLED = """
import sys
from pathlib import Path
from ilora.lab.runs.store import Store
from tests.stored_runs import make_round
store = Store(Path(sys.argv[1]))
for index in range(1, 10_000):
    store.save_round(sys.argv[2], make_round(index), "w")
    print(flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.011, 0.023])
def test_a_kill_at_any_moment_leaves_no_stray_file_after_the_next_worker_came(store, wait):
    run_id = store.add(EXPERIMENT.replace(rounds=10_000), worker="w")
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", KILLED, str(store.home), run_id]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root)
    assert writer.stdout
    writer.stdout.readline()
    time.sleep(wait)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    done = store.run(run_id).done
    assert store.fall_back(run_id, "w") == ""
    rounds = [f"round-{index:04d}.safetensors" for index in range(1, done + 1)]
    states = [f"state-{index:04d}.safetensors" for index in (done - 1, done) if index]
    assert files(store.folder(run_id)) == rounds + states
    assert store.save_round(run_id, make_round(done + 1), "w")


@pytest.mark.parametrize("file", ["round-0002.safetensors", "state-0003.safetensors"])
@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_an_export_of_what_is_damaged_names_it_and_leaves_nothing(store, tmp_path, file, fault):
    run_id = stored_run(store)
    path = store.folder(run_id) / file
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    if fault == "missing":
        path.unlink()
    target = tmp_path / "out" / "run.zip"
    target.parent.mkdir()
    with pytest.raises(StoreError, match=file):
        archive.export_run(store, run_id, target)
    assert files(target.parent) == []


def test_an_export_that_fails_leaves_the_file_that_was_there(store, tmp_path, monkeypatch):
    target = tmp_path / "out" / "run.zip"
    target.parent.mkdir()
    target.write_text("the one from yesterday")
    run_id = stored_run(store)

    def full(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(archive.zipfile.ZipFile, "write", full)
    with pytest.raises(StoreError, match=r"cannot be written to .*run.zip \(No space left on device\); choose another file"):
        archive.export_run(store, run_id, target)
    assert files(target.parent) == ["run.zip"]
    assert target.read_text() == "the one from yesterday"


def test_a_home_that_was_moved_while_a_run_trains_is_named(store):
    run_id = store.add(SMALL)

    def move(status: str, position: float, round: object) -> None:
        if round is not None and store.home.exists():
            store.home.rename(store.home.with_name("moved"))

    run = leases.take(store, run_id, "here")
    assert Training(store, run, "here", lambda held: False, move).finish() == "failed"
    assert f"The run's folder {store.folder(run_id)} has gone" in store.run(run_id).error


@pytest.mark.parametrize("ask", ["round", "snapshot", "export"])
def test_a_folder_that_has_gone_is_named(store, tmp_path, ask):
    run_id = stored_run(store)
    store.folder(run_id).rename(tmp_path / "elsewhere")
    asks = {
        "round": lambda: store.round(run_id, 1),
        "snapshot": lambda: store.snapshot(run_id),
        "export": lambda: archive.export_run(store, run_id, tmp_path / "run.zip"),
    }
    with pytest.raises(StoreError, match=r"The run's folder .* has gone; move it back"):
        asks[ask]()


@pytest.mark.parametrize(("session", "weighed"), [("its own", True), ("a terminal's", False)])
def test_a_worker_weighs_down_no_session_but_its_own(tmp_path, monkeypatch, session, weighed):
    monkeypatch.setattr(worker, "AUTOGROUP", tmp_path / "autogroup")
    monkeypatch.setattr(os, "nice", lambda steps: steps)
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid() if session == "its own" else os.getppid())
    worker._let_the_app_answer_first()
    assert (tmp_path / "autogroup").exists() == weighed


def test_an_unknown_cause_of_three_deaths_is_called_unknown(store):
    run_id = store.add(EXPERIMENT)
    for _ in range(3):
        leases.claim(store, "w")
        leases.abandon(store, "w")
    assert store.run(run_id).status == "failed"
    assert "3 workers died in round 1, and why is not known" in store.run(run_id).error
    assert "probably" not in store.run(run_id).error

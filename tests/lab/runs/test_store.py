"""A store keeps whole rounds or nothing, and says in one sentence what is wrong with a file."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ilora.lab.runs import archive, leases
from ilora.lab.runs.store import Store, StoreError
from ilora.records import Round
from ilora.tensor_files import read_tensors, write_tensors
from tests.stored_runs import EXPERIMENT, LAYERS, assert_same, changed, exported, make_facts, make_round, stored_run, zipped


def test_a_round_comes_back_as_it_was_in_the_same_order(store: Store) -> None:
    run_id = stored_run(store)
    for index in (1, 2, 3):
        loaded, made = store.round(run_id, index), make_round(index)
        np.testing.assert_equal(loaded.metrics(), made.metrics())
        assert_same(loaded.arrays(), made.arrays())
        assert tuple(loaded.layers) == LAYERS
    snapshot = store.snapshot(run_id)
    assert snapshot is not None
    assert_same(snapshot, make_round(3).snapshot)


def test_a_run_says_what_it_is_and_how_far(store: Store) -> None:
    run_id = stored_run(store, rounds=2)
    run = store.run(run_id)
    assert (run.done, run.rounds, run.status, run.fraction) == (2, 3, "stopped", 2 / 3)
    assert run.experiment == EXPERIMENT
    assert run.last["accuracy"] == make_round(2).accuracy
    assert run.seconds_left == pytest.approx((make_round(1).seconds + make_round(2).seconds) / 2)
    history = store.history(run_id)
    assert list(history.index) == [1, 2]
    assert set(history.columns) == set(make_round(1).metrics())
    facts = store.facts(run_id)
    assert facts is not None
    np.testing.assert_equal(vars(facts), vars(make_facts()))


def test_a_new_run_has_no_rounds_no_facts_and_no_snapshot(store: Store) -> None:
    run_id = store.add(EXPERIMENT, "a name", note="a note", group="g")
    assert store.history(run_id).empty
    assert store.facts(run_id) is None
    assert store.snapshot(run_id) is None
    assert [run.id for run in store.runs("g")] == [run_id]
    assert store.runs("another") == []


def test_names_and_notes_can_be_changed(store: Store) -> None:
    run_id = store.add(EXPERIMENT)
    store.rename(run_id, "  better\n name ")
    store.set_note(run_id, "seen")
    assert (store.run(run_id).name, store.run(run_id).note) == ("better name", "seen")
    with pytest.raises(StoreError, match="name is '  '"):
        store.rename(run_id, "  ")


def test_only_the_last_state_is_kept_and_the_one_before_to_fall_back_to(store: Store) -> None:
    run_id = stored_run(store)
    kept = ["state-0002.safetensors", "state-0003.safetensors"]
    assert [path.name for path in sorted(store.folder(run_id).glob("state-*"))] == kept


def test_a_worker_that_lost_its_run_writes_nothing(store: Store) -> None:
    run_id = store.add(EXPERIMENT, worker="w")
    assert not store.save_round(run_id, make_round(1), "another")
    assert store.run(run_id).done == 0
    assert not leases.end(store, run_id, "another", "finished")
    with pytest.raises(leases.LostRunError):
        leases.report(store, run_id, "another", 0.5)


def test_a_round_is_stored_once_and_in_turn(store: Store) -> None:
    run_id = store.add(EXPERIMENT, worker="w")
    assert not store.save_round(run_id, make_round(2), "w")
    assert store.save_round(run_id, make_round(1), "w")
    assert not store.save_round(run_id, make_round(1), "w")
    assert store.run(run_id).done == 1


KILLED = """
import sys
from pathlib import Path
from tests.stored_runs import EXPERIMENT, make_round
from ilora.lab.runs.store import Store
store = Store(Path(sys.argv[1]))
run_id = store.add(EXPERIMENT.replace(rounds=10_000), worker="w")
for index in range(1, 10_000):
    store.save_round(run_id, make_round(index), "w")
    print(run_id, flush=True)
"""


def test_a_kill_at_any_moment_leaves_the_last_finished_round(tmp_path: Path) -> None:
    """Killed at many different moments, every store is readable up to `done`, with the state that belongs to it."""
    root = Path(__file__).resolve().parents[3]
    for attempt in range(4):
        home = tmp_path / str(attempt)
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(home)], stdout=subprocess.PIPE, cwd=root)
        assert writer.stdout
        run_id = writer.stdout.readline().decode().strip()
        time.sleep(0.0237 * attempt)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        store = Store(home)
        done = store.run(run_id).done
        assert list(store.history(run_id).index) == list(range(1, done + 1))
        assert_same(store.round(run_id, done).arrays(), make_round(done).arrays())
        snapshot = store.snapshot(run_id)
        assert snapshot is not None
        assert snapshot["index"] == done
        assert store.save_round(run_id, make_round(done + 1), "w")


def test_many_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from ilora.lab.runs.store import Store; Store(Path(sys.argv[1])).runs()"
    openers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "home")], stderr=subprocess.PIPE) for _ in range(6)]
    assert [opener.communicate()[1] for opener in openers] == [b""] * 6


def test_threads_share_a_store(store: Store) -> None:
    run_id = stored_run(store)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(store.round(run_id, 3).index)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [3] * 8


@pytest.mark.parametrize("damage", ["truncated", "foreign", "empty", "missing", "another program's"])
def test_a_damaged_round_is_named_and_harms_no_other(store: Store, damage: str) -> None:
    run_id, other = stored_run(store), stored_run(store)
    path = store.round_file(run_id, 2)
    whole = path.read_bytes()
    if damage == "another program's":
        from safetensors.numpy import save_file

        save_file({"x": np.zeros(2)}, path)
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "foreign": b"hello " * 99, "empty": b"", "missing": b""}[damage])
    if damage == "missing":
        path.unlink()
    with pytest.raises(StoreError, match=r"round-0002.safetensors is missing, truncated or foreign .*start the run anew"):
        store.round(run_id, 2)
    assert store.round(run_id, 3).index == 3
    assert store.round(other, 2).index == 2
    assert len(store.runs()) == 2
    store.delete(run_id)


def test_what_is_no_round_is_refused(store: Store) -> None:
    run_id = stored_run(store)
    write_tensors(store.round_file(run_id, 1), {"layers/x/nonsense": np.zeros(2), "other": np.zeros(1)})
    store.write("UPDATE rounds SET arrays = '', seal = ''")  # as an earlier version has left it
    with pytest.raises(StoreError, match="does not hold what a round consists of"):
        store.round(run_id, 1)
    with pytest.raises(StoreError, match=r"round 7 of run .* 3 of 3 rounds are finished"):
        store.round(run_id, 7)


@pytest.mark.parametrize("run_id", ["nobody", "../../etc", "", "a/b", "x" * 99])
def test_a_run_that_does_not_exist_is_named(store: Store, run_id: str) -> None:
    for ask in (store.run, store.history, store.facts, store.snapshot, store.delete, lambda r: store.rename(r, "n")):
        with pytest.raises(StoreError, match="does not exist"):
            ask(run_id)


def test_a_foreign_or_truncated_database_is_named_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "store.sqlite"
    file.write_bytes(b"this is no database " * 400)
    with pytest.raises(StoreError, match=r"store.sqlite is damaged or not a run database .* move it away"):
        Store(tmp_path / "a")
    assert file.read_bytes().startswith(b"this is no database")

    (tmp_path / "b").mkdir()
    with sqlite3.connect(tmp_path / "b" / "store.sqlite") as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StoreError, match="belongs to another program"):
        Store(tmp_path / "b")

    Store(tmp_path / "c").write("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="newer ILoRA Lab"):
        Store(tmp_path / "c")


def test_a_truncated_database_is_named(store: Store) -> None:
    for _ in range(30):
        store.add(EXPERIMENT)
    store.read("PRAGMA wal_checkpoint(TRUNCATE)")
    with store.file.open("rb+") as file:
        file.truncate(8_192)
    with pytest.raises(StoreError, match=r"store.sqlite is damaged"):
        Store(store.home).runs()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be made .* ILORA_HOME"):
        Store(tmp_path / "file" / "home")


def test_a_running_run_is_not_deleted_and_a_deleted_one_leaves_nothing(store: Store) -> None:
    running, done = store.add(EXPERIMENT, worker="w"), stored_run(store)
    with pytest.raises(StoreError, match="is running; stop it"):
        store.delete(running)
    leftover = store.home / "runs" / "half-deleted"
    leftover.mkdir()
    os.utime(leftover, (0, 0))
    store.delete(done)
    assert [path.name for path in (store.home / "runs").iterdir()] == [running]
    assert store.read("SELECT * FROM rounds") == []


def test_no_two_workers_claim_the_same_run(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from ilora.lab.runs import leases
from ilora.lab.runs.store import Store
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
while run := leases.claim(store, sys.argv[2]):
    print(run.id)
"""
    store = Store(tmp_path)
    queued = {store.add(EXPERIMENT) for _ in range(40)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    workers = [subprocess.Popen([*command, f"w{n}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for n in range(4)]
    for worker in workers:
        assert worker.stdout
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        assert worker.stdin
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    claimed = [run_id for worker in workers for run_id in worker.communicate()[0].decode().split()]
    assert sorted(claimed) == sorted(queued)


def states(store: Store, run_id: str) -> tuple[str, str, str]:
    run = store.run(run_id)
    return run.status, run.wanted, run.worker


def test_what_is_wanted_of_a_run_that_nobody_trains_happens_at_once(store: Store) -> None:
    run_id = store.add(EXPERIMENT)
    for wanted, status in [("pause", "paused"), ("step", "queued"), ("stop", "stopped"), ("pause", "stopped"), ("run", "queued")]:
        leases.want(store, run_id, wanted)
        assert store.run(run_id).status == status


def test_a_held_run_goes_on_with_its_worker_and_a_released_one_queues(store: Store) -> None:
    run_id = store.add(EXPERIMENT, worker="w")
    assert not leases.hold(store, run_id, "w")
    leases.want(store, run_id, "pause")
    assert leases.hold(store, run_id, "w")
    assert not leases.go_on(store, run_id, "w")
    leases.want(store, run_id, "step")
    assert not leases.release(store, run_id, "w")
    assert leases.go_on(store, run_id, "w")
    assert states(store, run_id) == ("running", "step", "w")
    assert leases.hold(store, run_id, "w")
    assert leases.release(store, run_id, "w")
    leases.want(store, run_id, "run")
    assert states(store, run_id) == ("queued", "run", "")


def test_taking_a_paused_run_leaves_its_holder_without_it(store: Store) -> None:
    run_id = store.add(EXPERIMENT, worker="w", wanted="pause")
    leases.hold(store, run_id, "w")
    leases.take(store, run_id, "mine")
    assert states(store, run_id) == ("running", "run", "mine")
    with pytest.raises(leases.LostRunError):
        leases.go_on(store, run_id, "w")
    with pytest.raises(StoreError, match="is running already, in worker mine"):
        leases.take(store, run_id, "w")
    leases.end(store, run_id, "mine", "finished")
    for ask in (lambda: leases.take(store, run_id, "w"), lambda: leases.want(store, run_id, "run")):
        with pytest.raises(StoreError, match="finished after 3 rounds"):
            ask()


def test_a_run_survives_two_deaths_over_one_round_and_fails_with_the_third(store: Store) -> None:
    run_id = store.add(EXPERIMENT)
    for expected in ("interrupted", "interrupted", "failed"):
        assert leases.claim(store, "w") is not None
        assert leases.abandon(store, "w") == [run_id]
        assert store.run(run_id).status == expected
    assert "3 workers died in round 1" in store.run(run_id).error
    assert "\n" not in store.run(run_id).error


def test_a_finished_round_forgives_the_deaths_before_it(store: Store) -> None:
    run_id = store.add(EXPERIMENT)
    for index in (1, 2, 3):
        leases.claim(store, "w")
        leases.abandon(store, "w")
        leases.claim(store, "w")
        assert store.save_round(run_id, make_round(index), "w")
        leases.abandon(store, "w")
        assert store.run(run_id).status == "interrupted"


@pytest.mark.parametrize(("wanted", "status"), [("stop", "stopped"), ("pause", "paused"), ("step", "interrupted")])
def test_a_death_does_not_forget_what_was_wanted(store: Store, wanted: str, status: str) -> None:
    run_id = store.add(EXPERIMENT, worker="w")
    leases.want(store, run_id, wanted)
    leases.abandon(store, "w")
    assert states(store, run_id) == (status, wanted, "")


def test_an_exported_run_comes_back_whole_under_a_new_id(store: Store, tmp_path: Path) -> None:
    run_id = stored_run(store, rounds=2)
    store.log(run_id, "a line")
    archive.export_run(store, run_id, tmp_path / "run.zip")
    other = Store(tmp_path / "other")
    copy = archive.import_run(other, tmp_path / "run.zip")
    assert copy != run_id
    old, new = store.run(run_id), other.run(copy)
    assert new == replace(old, id=copy, error="", worker="")
    assert_same(other.round(copy, 2).arrays(), store.round(run_id, 2).arrays())
    assert store.history(run_id).equals(other.history(copy))
    assert str(vars(other.facts(copy))) == str(vars(store.facts(run_id)))
    assert other.read_log(copy) == store.read_log(run_id)
    snapshot = other.snapshot(copy)
    assert snapshot is not None
    assert_same(snapshot, make_round(2).snapshot)


def tensors(folder: Path, round: Round) -> bytes:
    write_tensors(folder / "t", round.arrays())
    return (folder / "t").read_bytes()


def test_foreign_zip_files_are_refused_and_leave_no_trace(store: Store, tmp_path: Path) -> None:
    good = exported(store)
    metrics, facts = json.loads(good["run.json"])["rounds"], json.loads(good["run.json"])["facts"]
    second, wrong = "round-0002.safetensors", make_round(2)
    other_clients = replace(wrong, clients={name: column[:1] for name, column in wrong.clients.items()})
    bad = {
        "slip": good | {"../../evil.txt": b"x"},
        "absolute": good | {"/tmp/evil": b"x"},
        "another member": good | {"virus.exe": b"x"},
        "a round is missing": {name: content for name, content in good.items() if name != second},
        "a round too many": good | {"round-0004.safetensors": good[second]},
        "no run.json": {"readme": b"x"},
        "run.json is no JSON": good | {"run.json": b"{"},
        "run.json is a list": good | {"run.json": b"[]"},
        "nested": good | {"run.json": b"[" * 200_000},
        "another format": changed(good, format="x"),
        "truncated round": good | {second: good[second][:-9]},
        "wrong arrays": good | {second: tensors(tmp_path, other_clients)},
        "another layer": good | {second: tensors(tmp_path, replace(wrong, layers={"x": wrong.layers[LAYERS[0]]}))},
        "pickle": good | {second: b"\x80\x04K\x01."},
        "metrics missing": changed(good, rounds=[{}] * 3),
        "metrics of text": changed(good, rounds=[metrics[0], metrics[1] | {"loss": "low"}, metrics[2]]),
        "rounds swapped": changed(good, rounds=metrics[::-1]),
        "unknown field": changed(good, experiment={"speed": 1}),
        "wrong value": changed(good, experiment=EXPERIMENT.to_dict() | {"lr": -1}),
        "fewer rounds planned": changed(good, experiment=EXPERIMENT.replace(rounds=2).to_dict()),
        "other clients": changed(good, experiment=EXPERIMENT.replace(ranks=(2, 2, 2)).to_dict()),
        "no facts": changed(good, facts=None),
        "facts of text": changed(good, facts="x"),
        "too many threads": changed(good, facts=facts | {"threads": 10**9}),
        "ranks of text": changed(good, facts=facts | {"ranks": "x"}),
        "times of text": changed(good, times={"created": "now"}),
        "name missing": changed(good, name=None),
    }
    before = sorted(path.name for path in (store.home / "runs").iterdir())
    for what, members in bad.items():
        with pytest.raises(StoreError) as caught:
            archive.import_run(store, zipped(members))
        assert "\n" not in str(caught.value), what
        assert "python -m ilora export" in str(caught.value), what
        assert str(store.home) not in str(caught.value), what
    assert sorted(path.name for path in (store.home / "runs").iterdir()) == before
    assert len(store.runs()) == len(before)
    assert not list(tmp_path.glob("**/evil*"))


def test_a_zip_file_cut_anywhere_is_refused(store: Store, tmp_path: Path) -> None:
    archive.export_run(store, stored_run(store), tmp_path / "run.zip")
    whole = (tmp_path / "run.zip").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 30):
        (tmp_path / "cut.zip").write_bytes(whole[:size])
        with pytest.raises(StoreError, match=r"cut.zip is truncated or not a zip file"):
            archive.import_run(store, tmp_path / "cut.zip")
    with pytest.raises(StoreError, match=r"nothing.zip does not exist"):
        archive.import_run(store, tmp_path / "nothing.zip")
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 0xFF
    (tmp_path / "cut.zip").write_bytes(flipped)
    with pytest.raises(StoreError):
        archive.import_run(store, tmp_path / "cut.zip")
    assert len(store.runs()) == 1


def test_tensors_keep_order_dtype_and_shape(tmp_path: Path) -> None:
    arrays = {
        "z": np.float64(1.5),
        "a": np.arange(6).reshape(2, 3).T,
        "m": np.zeros((0, 3), np.float32),
        "b": np.array([True, False]),
    }
    write_tensors(tmp_path / "t", {name: np.asarray(array) for name, array in arrays.items()})
    assert_same(read_tensors(tmp_path / "t", ""), {name: np.asarray(array) for name, array in arrays.items()})
    assert [path.name for path in tmp_path.iterdir()] == ["t"]

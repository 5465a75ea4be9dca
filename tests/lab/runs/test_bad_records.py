"""One bad record takes nothing else down: it is one line that says "unreadable", and it can be deleted."""

import os
import sqlite3

import pytest

from ilora.lab import cli
from ilora.lab.runs import leases, pool
from ilora.lab.runs.store import UNREADABLE, StoreError
from tests.stored_runs import EXPERIMENT, stored_run

DAMAGE = {
    "metrics cut": "UPDATE rounds SET metrics = '{' WHERE run = :run AND number = 3",
    "metrics of another kind": "UPDATE rounds SET metrics = '[]' WHERE run = :run AND number = 3",
    "metrics of another round": "UPDATE rounds SET metrics = replace(metrics, '\"index\": 3', '\"index\": 2') WHERE run = :run",
    "a number changed": "UPDATE rounds SET metrics = replace(metrics, '0.', '1.') WHERE run = :run AND number = 3",
    "a last round missing": "DELETE FROM rounds WHERE run = :run AND number = 3",
    "done": "UPDATE runs SET done = 2 WHERE id = :run",
    "text for a number": "UPDATE runs SET rounds = 'many', seal = '' WHERE id = :run",
    "no text": "UPDATE runs SET name = x'ff00', seal = '' WHERE id = :run",
    "no UTF-8": "UPDATE runs SET note = CAST(x'ffff' AS TEXT) WHERE id = :run",
    "a time out of range": "UPDATE runs SET created = 1e300, seal = '' WHERE id = :run",
    "a number out of range": "UPDATE rounds SET metrics = replace(metrics, '0.', '1000000000000000000000000000000'), seal = ''",
    "a status that is none": "UPDATE runs SET status = 'asleep', seal = '' WHERE id = :run",
    "the experiment": "UPDATE runs SET experiment = replace(experiment, '\"lr\": 0.002', '\"lr\": 0.003') WHERE id = :run",
    "the facts": "UPDATE runs SET facts = replace(facts, '64', '65') WHERE id = :run",
    "running": "UPDATE runs SET status = 'running' WHERE id = :run",
}


def damage(store, sql: str, run_id: str) -> None:
    with sqlite3.connect(store.file) as other:
        assert other.execute(sql, {"run": run_id} if ":run" in sql else {}).rowcount


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_row_is_one_unreadable_run_beside_the_others_and_can_be_deleted(store, what):
    run_id = stored_run(store)
    damage(store, DAMAGE[what], run_id)
    other = stored_run(store)
    assert [(run.id, run.status) for run in store.runs()] == [(other, "finished"), (run_id, UNREADABLE)]
    run = store.run(run_id)
    assert run.error.startswith("unreadable: ")
    assert "\n" not in run.error
    store.delete(run_id)
    assert [run.id for run in store.runs()] == [other]
    assert not store.folder(run_id).exists()


def test_a_run_whose_id_is_damaged_can_be_deleted_and_takes_no_folder_with_it(store):
    run_id, other = stored_run(store), stored_run(store)
    damage(store, "UPDATE runs SET id = 'Ä' || id WHERE id = :run", run_id)
    store.delete(other)
    assert store.folder(run_id).exists()
    store.delete(f"Ä{run_id}")
    assert store.runs() == []


def test_the_command_line_lists_a_damaged_run_and_deletes_it(store, monkeypatch, capsys):
    monkeypatch.setenv("ILORA_HOME", str(store.home))
    run_id, other = stored_run(store), stored_run(store)
    damage(store, DAMAGE["metrics cut"], run_id)
    assert cli.main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[other, "finished"], [run_id, "unreadable"]]
    assert cli.main(["delete", run_id]) == 0
    assert [run.id for run in store.runs()] == [other]


def test_a_damaged_run_is_never_trained_and_keeps_nobody_waiting(store):
    bad, good = store.add(EXPERIMENT), store.add(EXPERIMENT)
    damage(store, "UPDATE runs SET experiment = replace(experiment, '\"lr\": 0.002', '\"lr\": 0.003') WHERE id = :run", bad)
    claimed = leases.claim(store, "w")
    assert claimed
    assert claimed.id == good
    assert leases.claim(store, "w") is None
    for act in (pool.resume, pool.pause, pool.stop, store.snapshot, store.facts, store.history):
        with pytest.raises(StoreError, match=f"run {bad} is unreadable .*; delete it"):
            act(*((store, bad) if act.__module__ == pool.__name__ else (bad,)))
    assert store.run(bad).status == UNREADABLE, "no later change seals the damage"


def test_a_dead_worker_of_a_damaged_run_does_not_hold_the_others(store):
    bad, good = store.add(EXPERIMENT, worker="w"), store.add(EXPERIMENT, worker="w")
    damage(store, "UPDATE runs SET facts = 'x' WHERE id = :run", bad)
    leases.abandon(store, "w")
    assert store.run(good).status == "interrupted"


def test_a_damaged_round_is_a_gap_in_the_history(store):
    run_id = stored_run(store)
    damage(store, "UPDATE rounds SET metrics = '{' WHERE run = :run AND number = 2", run_id)
    history = store.history(run_id)
    assert list(history.index) == [1, 2, 3]
    assert history["accuracy"].isna().tolist() == [False, True, False]
    with pytest.raises(StoreError, match=r"round 2 of run .* is unreadable .* start the run anew"):
        store.round(run_id, 2)
    assert store.round(run_id, 3).index == 3


def test_a_worker_whose_row_is_damaged_is_taken_for_nobody(store):
    damage(store, "INSERT INTO workers VALUES ('w', x'ff', 'here', 'many', 3, 'idle', 'now')", "")
    (worker,) = leases.workers(store)
    assert (worker.id, worker.kind, worker.pid, worker.identity, worker.heartbeat) == ("w", "", 0, "", 0.0)
    pool.sweep(store)
    assert os.getpid()

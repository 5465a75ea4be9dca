"""Stored bytes are not trusted: whatever bit of a store flips, the numbers are the same or the damage is named."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from ilora.lab.runs import leases
from ilora.lab.runs.database import APPLICATION_ID, SCHEMA, VERSION
from ilora.lab.runs.store import UNREADABLE, Store, StoreError
from ilora.tensor_files import FORMAT, read_tensors, write_tensors
from tests.stored_runs import EXPERIMENT, assert_same, make_facts, make_round, stored_run, train, trained


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return {"head": np.linspace(0, 1, 7, dtype=np.float32), "b/A": np.arange(6).reshape(2, 3), "on": np.array([True])}


@settings(max_examples=400, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True))
def test_any_flipped_bit_of_a_tensor_file_is_named_or_harmless(tmp_path_factory, arrays, place):
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    digest = write_tensors(path, arrays)
    flip(path, int(place * 8 * path.stat().st_size))
    for noted in ("", digest):
        with suppress(StoreError):  # it was named
            assert_same(read_tensors(path, "", digest=noted), arrays)


def test_a_file_that_was_put_in_anothers_place_is_named(store):
    run_id = stored_run(store)
    shutil.copy(store.round_file(run_id, 1), store.round_file(run_id, 2))
    with pytest.raises(StoreError, match=r"round-0002\.safetensors is damaged: what it holds is not what was written"):
        store.round(run_id, 2)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The database of a store with three runs, in one file."""
    store = Store(tmp_path_factory.mktemp("whole"))
    for rounds in (3, 1, 2):
        stored_run(store, rounds)
    store.read("PRAGMA wal_checkpoint(TRUNCATE)")
    return store.file


def round_as_text(store: Store, run_id: str, index: int) -> list[Any]:
    return [value.decode() if isinstance(value, bytes) else value for value in store.round_row(run_id, index)]


def told(store: Store, run_id: str) -> dict[str, Any]:
    """All that a store says of a run; None for what it refuses to say."""
    asks: dict[str, Callable[[], Any]] = {
        "run": lambda: store.run(run_id),
        "facts": lambda: str(vars(store.facts(run_id))),
        "history": lambda: json.loads(store.history(run_id).to_json(orient="index")),
    }
    for index in (1, 2, 3):
        asks[f"round {index}"] = partial(round_as_text, store, run_id, index)
    said = {}
    for what, ask in asks.items():
        try:
            said[what] = ask()
        except StoreError:
            said[what] = None
    return said


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_of_the_database_is_named_or_harmless(tmp_path_factory, whole, data):
    home = tmp_path_factory.mktemp("flipped")
    content = bytearray(whole.read_bytes())
    place = data.draw(st.sampled_from([place for place, byte in enumerate(content) if byte]))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    (home / "store.sqlite").write_bytes(content)
    before = Store(whole.parent)
    try:
        store = Store(home)
        store.runs()
    except StoreError:
        return  # it was named
    for run in before.runs():
        old, new = told(before, run.id), told(store, run.id)
        if new["run"] is not None and new["run"].status != UNREADABLE:
            assert new["run"] == run
            assert new["facts"] in (None, old["facts"])
        for name, value in new.items():
            if name.startswith("round"):
                assert value is None or value == old[name]
        for index, metrics in (new["history"] or {}).items():
            assert metrics == old["history"][index] or set(metrics.values()) == {int(index), None}


def test_a_flipped_bit_in_a_state_is_named_and_the_run_does_not_go_on(store):
    run_id = trained(store, 1)
    flip(store.state_file(run_id, 1), 8 * store.state_file(run_id, 1).stat().st_size - 20)
    assert train(store, run_id) == "failed"
    assert "state-0001.safetensors is damaged" in store.run(run_id).error
    assert store.run(run_id).done == 1


@pytest.mark.parametrize("part", ["state", "arrays", "row"])
def test_a_damaged_round_falls_back_to_the_last_good_one_and_says_so(store, part):
    run_id, undisturbed = trained(store, 2), trained(store, 3)
    if part == "row":
        with sqlite3.connect(store.file) as other:
            other.execute("UPDATE rounds SET metrics = replace(metrics, '0.', '1.') WHERE run = ? AND number = 2", (run_id,))
        assert store.run(run_id).status == UNREADABLE
    else:
        path = {"state": store.state_file, "arrays": store.round_file}[part](run_id, 2)
        flip(path, 8 * path.stat().st_size - 20)
    assert train(store, run_id) == "finished"
    assert "goes on from round 1, for" in store.read_log(run_id)
    assert "starts with round 2 of 3" in store.read_log(run_id)
    assert_same(store.snapshot(run_id) or {}, store.snapshot(undisturbed) or {})


def test_damaged_arrays_of_the_only_round_do_not_keep_a_run_from_going_on(store):
    run_id = trained(store, 1)
    flip(store.round_file(run_id, 1), 8 * store.round_file(run_id, 1).stat().st_size - 20)
    assert train(store, run_id) == "finished"
    assert "goes on from round 1, for" in store.read_log(run_id)


@pytest.fixture
def earlier(tmp_path) -> tuple[Path, str]:
    """A store as version 1 has left it, with one stopped run of two rounds."""
    home = tmp_path / "earlier"
    folder = home / "runs" / "ilora-aaaa"
    folder.mkdir(parents=True)
    with sqlite3.connect(home / "store.sqlite") as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        db.execute("PRAGMA user_version = 1")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(
            "INSERT INTO runs (id, name, note, compare, experiment, facts, status, wanted, created, queued, rounds, done)"
            " VALUES ('ilora-aaaa', 'old', '', '', ?, ?, 'stopped', 'run', 1e9, 1e9, 3, 2)",
            (EXPERIMENT.to_json(), make_facts().to_json()),
        )
        for index in (1, 2):
            round = make_round(index)
            db.execute("INSERT INTO rounds VALUES ('ilora-aaaa', ?, ?)", (index, json.dumps(round.metrics())))
            for name, held in (("round", round.arrays()), ("state", round.snapshot)):
                plain = {key: np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array) for key, array in held.items()}
                save_file(plain, folder / f"{name}-000{index}.safetensors", {"format": FORMAT, "order": json.dumps(list(held))})
        (folder / "state-0001.safetensors").unlink()
    return home, "ilora-aaaa"


def test_a_store_of_an_earlier_version_opens_resumes_and_gets_digests_as_it_goes_on(earlier):
    home, run_id = earlier
    store = Store(home)
    assert store.read("PRAGMA user_version")[0][0] == VERSION
    assert (store.run(run_id).name, store.run(run_id).status) == ("old", "stopped")
    assert_same(store.round(run_id, 2).arrays(), make_round(2).arrays())
    leases.take(store, run_id, "w")
    assert store.fall_back(run_id, "w") == ""
    assert store.save_round(run_id, make_round(3), "w")
    rows = store.read("SELECT arrays, state, seal FROM rounds ORDER BY number")
    assert [[len(digest) for digest in row] for row in rows] == [[0, 0, 0], [0, 0, 0], [64, 64, 64]]
    assert len(store.read("SELECT seal FROM runs")[0]["seal"]) == 64
    assert Store(home).run(run_id).last["index"] == 3

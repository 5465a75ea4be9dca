"""What is imported can be trained and shown, is no larger than such a run can be, and a refusal names what is to blame."""

import errno
import io
import json
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ilora import Experiment
from ilora.lab.runs import archive, archive_limits, leases
from ilora.lab.runs.store import Store, StoreError
from ilora.lab.runs.worker import Training
from ilora.tasks import data_folder
from ilora.tensor_files import write_tensors
from tests.stored_runs import EXPERIMENT, changed, exported, make_facts, make_round, zipped

ROOT = Path(__file__).resolve().parents[3]
NO_NUMBERS = [float("nan"), float("inf"), -float("inf"), 1e300, -1.0, 10**30, -(10**30), True, "1", [1], {}]
NO_COUNTS = [*NO_NUMBERS, 1.5, None]


@pytest.fixture
def good(store: Store) -> dict[str, bytes]:
    return exported(store)


def refused(store: Store, members: dict[str, bytes]) -> str:
    """The sentence by which an import is refused, without a trace of it."""
    before = sorted(path.name for path in (store.home / "runs").iterdir()), store.runs()
    with pytest.raises(StoreError) as caught:
        archive.import_run(store, zipped(members))
    assert (sorted(path.name for path in (store.home / "runs").iterdir()), store.runs()) == before
    assert "store.sqlite" not in str(caught.value), "the database is not to blame"
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["created", "started", "ended", "seconds_per_round"])
def test_times_are_finite_and_lie_where_they_can(store, good, name):
    times = json.loads(good["run.json"])["times"]
    for value in NO_NUMBERS:
        assert f"{name} in run.json" in refused(store, changed(good, times=times | {name: value}))


@pytest.mark.parametrize("name", ["index", "accuracy", "seconds", "floats_up", "bytes_down", "forwards", "peak_megabytes"])
def test_metrics_are_finite_and_lie_where_they_can(store, good, name):
    rounds = json.loads(good["run.json"])["rounds"]
    for value in NO_NUMBERS:
        if (name, value) != ("accuracy", -1.0):
            refused(store, changed(good, rounds=[rounds[0], rounds[1] | {name: value}, rounds[2]]))


FACTS: dict[str, list[Any]] = {
    "clients": NO_COUNTS,
    "threads": NO_COUNTS,
    "test_samples": NO_COUNTS,
    "backbone_parameters": NO_COUNTS,
    "head_parameters": NO_COUNTS,
    "ranks": [[2], [2, 4, 6], [2, -4], [2, 1.5], [2, 10**30], [2, "4"], "24", [[2, 4]]],
    "samples": [[-1, 1], [1], [None, 1], [10**30, 1]],
    "class_counts": [[[-1] * 10] * 2, [[1] * 9] * 2, [[1] * 10], [[float("nan")] * 10] * 2, [["1"] * 10] * 2, [1, 2]],
    "classes": [[], ["a"] * 9, [1] * 10, ["a"] * 9 + ["\ud800"], ["a"] * 9 + ["b\n"], ["a" * 10**4] * 10],
    "layers": [[], ["a"] * 4, [1] * 4, ["\x00"] * 4],
    "shapes": [[[64, 64]] * 3, [[64]] * 4, [[0, 64]] * 4, [[10**6, 10**6]] * 4, [[64.5, 64]] * 4],
    "device": [1, "c\npu", "c" * 1_000],
    "precision": [None],
    "adapter_parameters": [[-1, 1], [1.5, 1]],
    "styles": [["blurred"], [1, 2]],
    "noisy": [[-1], [2], ["0"], 0],
    "more": [1],
}


@pytest.mark.parametrize("name", FACTS)
def test_facts_are_what_a_run_of_the_experiment_can_have(store, good, name):
    facts = json.loads(good["run.json"])["facts"]
    for value in FACTS[name]:
        refused(store, changed(good, facts=facts | {name: value}))


@pytest.mark.parametrize("text", ["\ud800", "x" * 200_000])
@pytest.mark.parametrize("name", ["name", "note"])
def test_texts_can_be_shown(store, good, name, text):
    refused(store, changed(good, **{name: text}))


@pytest.mark.parametrize(
    "arrays",
    [
        {"clients/id": np.array([0, 9])},
        {"clients/id": np.array([0, 0])},
        {"clients/id": np.array([0.0, 1.0])},
        {"clients/weight": np.array([-1.0, 2.0])},
        {"clients/accuracy": np.array([np.inf, 0])},
        {"clients/loss": np.array([1e300, 0])},
        {"layers/{layer}/drift": np.float64("inf")},
        {"layers/{layer}/singular_values": np.ones(3)},
        {"pictures/labels": np.array([0, 10])},
        {"pictures/labels": np.array([-1])},
        {"pictures/server/probabilities": np.ones((1, 4, 9))},
        {"pictures/images": np.ones((2, 1, 8, 8))},
        {"factors/{layer}/server/C": np.ones((2, 2))},
        {"factors/{layer}/server/B": np.ones((64, 3))},
    ],
    ids=str,
)
def test_arrays_are_finite_and_fit_to_the_run(store, good, arrays, tmp_path):
    round = make_round(2)
    layer = next(iter(round.layers))
    named = {name.format(layer=layer): array for name, array in arrays.items()}
    write_tensors(tmp_path / "t", round.arrays() | named)
    refused(store, good | {"round-0002.safetensors": (tmp_path / "t").read_bytes()})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_any_place_is_refused_or_can_be_shown(store, good, data):
    """Whatever is put anywhere into run.json, the list of runs, its history and its facts can be read afterwards."""
    said, about = "", json.loads(good["run.json"])
    place, steps = about, data.draw(st.integers(1, 4))
    for step in range(steps):
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if step == steps - 1 or not isinstance(place[key], dict | list) or not place[key]:
            place[key] = data.draw(
                st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just([]) | st.just({})
            )
            break
        place = place[key]
    try:
        run_id = archive.import_run(store, zipped(good | {"run.json": json.dumps(about).encode()}))
    except StoreError as error:
        said = str(error)
        return
    finally:
        assert "store.sqlite" not in said
    run = store.run(run_id)
    assert run.status in ("finished", "stopped")
    json.dumps([run.name, run.note], ensure_ascii=False).encode()
    assert len(store.history(run_id)) == run.done
    facts = store.facts(run_id)
    assert facts is None or (facts.class_counts >= 0).all()
    store.delete(run_id)


def packed(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in members.items():
            target.writestr(name, content)
    return buffer


@pytest.mark.parametrize("member", ["log.txt", "state-0003.safetensors", "round-0002.safetensors", "run.json"])
def test_a_member_that_is_larger_than_such_a_run_can_have_is_refused_before_it_is_unpacked(store, good, member, monkeypatch):
    limit = archive_limits.limits_of(EXPERIMENT, make_facts()).of(member)
    assert len(good[member]) < limit / 3
    bomb = packed(good | {member: bytes(limit + 1)})
    assert len(bomb.getvalue()) < limit / 10
    monkeypatch.setattr(archive, "_unpack", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(StoreError, match=r"bytes; such a run has at most|too large"):
        archive.import_run(store, bomb)


def test_many_members_that_are_each_allowed_may_not_be_a_bomb_together(store, good, monkeypatch):
    monkeypatch.setattr(archive, "FREE_BYTES", 1_000)
    monkeypatch.setattr(archive, "MOST_RATIO", 1)
    with pytest.raises(StoreError, match=r"it unpacks to [\d,]+ bytes from [\d,]+"):
        archive.import_run(store, packed(good))


def test_a_full_disk_is_not_taken_for_a_bad_file(store, good, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(archive.os, "fsync", full)
    with pytest.raises(StoreError, match=r"runs cannot be written \(.*No space left on device\); see that the disk has space"):
        archive.import_run(store, zipped(good))
    assert len(store.runs()) == 1


def test_a_member_that_is_damaged_inside_is_the_files_fault(store, good):
    whole = bytearray(zipped(good).getvalue())
    whole[whole.index(good["round-0002.safetensors"][-40:])] ^= 1
    with pytest.raises(StoreError, match=r"the file is not a run \(a member of it is truncated or damaged"):
        archive.import_run(store, io.BytesIO(whole))


def test_the_recorded_run_and_what_it_is_exported_as_are_read(store):
    run_id = archive.import_run(store, data_folder() / "recorded-run.zip")
    again = io.BytesIO()
    archive.export_run(store, run_id, again)
    assert store.run(archive.import_run(store, again)).done == store.run(run_id).done == 15


def test_a_default_run_of_100_rounds_goes_out_and_in_through_the_page(store):
    """One real round tells how large 100 are; the page's limit, the archive's, and what a run takes are held together here."""
    run_id = store.add(Experiment(rounds=100))
    assert Training(store, leases.take(store, run_id, "here", "step"), "here", lambda held: False).finish() == "paused"
    file = io.BytesIO()
    archive.export_run(store, run_id, file)
    members = {info.filename[:5]: info for info in zipfile.ZipFile(file).infolist()}
    zipped_bytes = 100 * members["round"].compress_size + members["state"].compress_size + members["run.j"].compress_size * 100
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    page = config["server"]["maxUploadSize"] * 2**20
    assert 1.2 * zipped_bytes < page < archive_limits.MOST_BYTES
    unpacked = 100 * members["round"].file_size + members["state"].file_size
    assert unpacked < archive_limits.FREE_BYTES + archive_limits.MOST_RATIO * zipped_bytes
    facts = store.facts(run_id)
    limits = archive_limits.limits_of(Experiment(rounds=100), facts)
    assert 1.5 * members["round"].file_size < limits.round < 20 * members["round"].file_size
    assert 2 * members["state"].file_size < limits.state < 40 * members["state"].file_size
    assert archive.import_run(store, file)

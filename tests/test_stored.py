"""Runs that version 0.1.0 stored open, and go on to the numbers that it would have found; `tests/stored/make.py` tells how."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ilora import simulate
from ilora.lab.runs.archive import import_run
from ilora.lab.runs.store import Store
from tests.stored.make import EXPECTED, FOLDER, KEPT, ROUNDS, RUNS, experiment_of, numbers_of

TOLERANCE = 1e-6  # another machine may round otherwise
CARRIED_FURTHER = {  # what that becomes where a run magnifies it; measured with other instruction sets, times five or more
    "aflora": 1e-5,
    "ensemble-of-control-variates": 1e-5,
    "feddyn-factor": 1e-5,
    "fedex-lora": 1e-5,
    "fedhl": 1e-5,
    "hetlora": 1e-5,
    "ilora-official": 3e-4,  # scales its adapters by 16 / r
    "lora-a2": 3e-5,
    "mor": 5e-3,  # fits a router by many steps
    "ri-fedavg": 1e-4,
    "rolora": 1e-5,
}
COUNTED_SINCE = ("floats_up", "floats_down", "bytes_up", "bytes_down")  # what a stage sends beside factors and heads
SENDS_MORE = {
    "aer": "each client's entropy, alpha and, for the KL term, the first policy",
    "aflora": "the ranks that are left after pruning",
    "co-pfl": "each client's loss under the others' model",
    "ensemble-of-control-variates": "less: the residual that is merged has no control variate, and was counted twice",
    "fedadamw": "the second moment of each tensor, both ways",
    "flood": "each client's confidence",
    "hetlora": "each client's norm, and the ranks that are left after pruning",
}
NUMBERS: dict[str, list[dict[str, dict[str, Any]]]] = json.loads(EXPECTED.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As many threads as the runs were stored with: they are part of the numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_each_stored_run_has_its_numbers():
    assert set(RUNS) == set(NUMBERS) == {path.stem for path in FOLDER.glob("*.zip")}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_stored_run_opens_and_goes_on_to_the_same_numbers(name: str, tmp_path: Path):
    store = Store(tmp_path)
    run_id = import_run(store, FOLDER / f"{name}.zip")
    run = store.run(run_id)
    assert (run.status, run.done, run.rounds) == ("stopped", KEPT, ROUNDS)
    assert run.experiment == experiment_of(name)
    assert [store.round(run_id, index).accuracy for index in (1, KEPT)] == list(store.history(run_id)["accuracy"])
    allowed = CARRIED_FURTHER.get(name, TOLERANCE)
    found = [numbers_of(record) for record in simulate(run.experiment, store.snapshot(run_id))]
    for now, before in zip(found, NUMBERS[name], strict=True):
        for kind, numbers in before.items():
            for what, number in numbers.items():
                if name in SENDS_MORE and what in COUNTED_SINCE:
                    continue
                where = f"{kind}, {what}, round {before['metrics']['index']}"
                np.testing.assert_allclose(now[kind][what], number, allowed, allowed, err_msg=where)

"""Small runs in a store, made up or really trained, for tests of what becomes of them there."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np

from ilora import Experiment
from ilora.lab.runs import archive, leases
from ilora.lab.runs.store import Store
from ilora.records import Round, RunFacts
from tests import factory

LAYERS = factory.LAYERS[::-1]  # not in alphabetical order, as the layers of a model with more than ten blocks
EXPERIMENT = Experiment(ranks=(2, 4), rounds=3)
SMALL = Experiment(method="fedit", ranks=(2, 4), targets=("value",), rounds=3, local_steps=1)


def make_round(index: int) -> Round:
    layers = {layer: factory.make_layer(2, np.random.default_rng(index)) for layer in LAYERS}
    factors = {f"{layer}/server/A": np.arange(24.0).reshape(6, 4).T for layer in LAYERS}  # not contiguous
    snapshot = {"index": np.array(index), "head": np.full(3, 1 / index)}
    return factory.make_round(index, (2, 4), alignment=float("nan"), layers=layers, factors=factors, snapshot=snapshot)


def make_facts() -> RunFacts:
    return replace(factory.make_facts((2, 4)), layers=LAYERS)


def stored_run(store: Store, rounds: int = 3) -> str:
    run_id = store.add(EXPERIMENT, worker="w")
    store.save_facts(run_id, make_facts())
    for index in range(1, rounds + 1):
        assert store.save_round(run_id, make_round(index), "w")
    leases.end(store, run_id, "w", "finished" if rounds == EXPERIMENT.rounds else "stopped")
    return run_id


def assert_same(left: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> None:
    assert list(left) == list(right)
    for name in left:
        assert left[name].dtype == right[name].dtype, name
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def exported(store: Store) -> dict[str, bytes]:
    buffer = io.BytesIO()
    archive.export_run(store, stored_run(store), buffer)
    with zipfile.ZipFile(buffer) as members:
        return {name: members.read(name) for name in members.namelist()}


def zipped(members: dict[str, bytes]) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)
    return buffer


def changed(members: dict[str, bytes], **values: object) -> dict[str, bytes]:
    return members | {"run.json": json.dumps(json.loads(members["run.json"]) | values).encode()}


def train(store: Store, run_id: str, wanted: str = "run") -> str:
    from ilora.lab.runs.worker import Training  # loads torch

    return Training(store, leases.take(store, run_id, "here", wanted), "here", lambda held: False).finish()


def trained(store: Store, rounds: int) -> str:
    run_id = store.add(SMALL)
    for _ in range(rounds):
        train(store, run_id, "step")
    return run_id

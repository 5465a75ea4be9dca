"""Samples are stored small and made into the model's arguments in one place, the same for every engine and chunk."""

from dataclasses import replace

import pytest
import torch

from ilora.clients.sampling import augment_draws
from ilora.simulation import round_loop as simulation_module
from ilora.simulation.round_loop import Simulation
from ilora.tasks import TASKS
from ilora.tasks.base import AUGMENT_DRAWS, Data
from ilora.training.vectorised import VectorisedEngine
from tests.toy import CARD, load_toy, toy_experiment


def as_bytes(x):
    return (x * 30 + 128).clamp(0, 255).to(torch.uint8)


def from_bytes(inputs):
    return {"x": (inputs["x"].float() - 128) / 30}


def mirror(inputs, draws):
    """Turn the features of a sample round where its first draw says so."""
    turned = inputs["x"].flip(-1)
    return {"x": torch.where((draws[..., 0] < 0.5)[..., None, None], turned, inputs["x"])}


def stored_task():
    """The toy task, held as bytes and mirrored at random in training."""
    whole = load_toy()
    train, test = (Data({"x": as_bytes(d.inputs["x"])}, d.labels, from_bytes, mirror) for d in (whole.train, whole.test))
    return replace(whole, train=train, test=test)


@pytest.fixture
def stored(monkeypatch):
    monkeypatch.setitem(TASKS, "toy", CARD)
    monkeypatch.setattr(simulation_module, "load_task", lambda *chosen: stored_task())


def test_rows_of_any_shape_are_prepared_and_labels_stay():
    data = stored_task().train
    index = torch.tensor([[3, 1], [0, 3]])
    rows = data.rows(index)["x"]
    assert rows.shape == (2, 2, 3, 12)
    torch.testing.assert_close(rows[0, 1], from_bytes({"x": data.inputs["x"][1]})["x"])
    torch.testing.assert_close(data[5:9].rows(slice(1, 3))["x"], data.rows(slice(6, 8))["x"])
    assert torch.equal(data[5:9].labels, data.labels[5:9])


def test_only_rows_with_draws_are_augmented_and_each_by_its_own():
    data = stored_task().train
    plain, index = data.rows(torch.tensor([4, 4]))["x"], torch.tensor([4, 4])
    draws = torch.zeros(2, AUGMENT_DRAWS)
    draws[1] = 0.9
    mixed = data.rows(index, draws)["x"]
    assert torch.equal(mixed[0], plain[0].flip(-1))
    assert torch.equal(mixed[1], plain[1])


def test_both_engines_see_the_same_augmented_samples(stored):
    one, other = (Simulation(toy_experiment(engine=engine, optimizer="sgd")) for engine in ("vectorised", "sequential"))
    for _ in range(2):
        a, b = one.next_round(), other.next_round()
        for column in ("train_loss", "loss", "accuracy"):
            assert a.clients[column] == pytest.approx(b.clients[column], abs=1e-5)


def test_chunks_of_clients_change_no_augmentation_and_rounds_differ_in_theirs(stored):
    whole, chunked = (Simulation(toy_experiment(lr=0.0)) for _ in range(2))
    assert isinstance(chunked.engine, VectorisedEngine)
    chunked.engine.bytes_per_row, chunked.engine.memory_budget = 1, 5
    first, again = whole.next_round(), chunked.next_round()
    assert first.clients["train_loss"] == pytest.approx(again.clients["train_loss"], abs=1e-6)
    a, b = (augment_draws(3, 5, 0, index, 1) for index in (1, 2))
    assert a.shape == (3, 5, AUGMENT_DRAWS)
    assert not torch.equal(a, b)


def test_what_is_tested_is_not_augmented(stored):
    simulation = Simulation(toy_experiment())
    parameters, base = simulation.server.model()
    logits = simulation.engine.logits(parameters, base, simulation.client_data.test)
    plain = replace(simulation.client_data.test, augment=None)
    assert torch.equal(logits, simulation.engine.logits(parameters, base, plain))

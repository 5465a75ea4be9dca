"""Laws that more than one kind of method must keep, as assertions on a run of the toy task."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call

from ilora.clients.sampling import fresh_head
from ilora.experiment import Experiment
from ilora.methods import METHODS, resolve
from ilora.simulation.round_loop import Simulation
from tests.toy import length, server_logits, updates


def bits(record):
    return {
        **record.arrays(),
        **{f"metrics/{n}": np.asarray(v) for n, v in record.metrics().items() if n not in ("seconds", "peak_megabytes")},
    }


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert np.asarray(one[name]).tobytes() == np.asarray(other[name]).tobytes(), name


def same_model(one: Simulation, other: Simulation, tolerance: float = 1e-6) -> None:
    """The same update in every layer and the same head."""
    G, H = updates(one), updates(other)
    for name in G:
        np.testing.assert_allclose(G[name], H[name], atol=tolerance * max(1, length(H[name])), err_msg=name)
    for name in one.head:
        np.testing.assert_allclose(one.head[name], other.head[name], atol=tolerance, err_msg=name)


def compare(experiment, rounds=2):
    """Run both engines; G of every layer as a product, head, control state, what clients sent, and the scores must agree."""
    fast, slow = Simulation(experiment), Simulation(experiment.replace(engine="sequential"))
    for _ in range(rounds):
        one, other = fast.next_round(), slow.next_round()
        G, H = updates(fast), updates(slow)
        for name in G:
            torch.testing.assert_close(torch.tensor(G[name]), torch.tensor(H[name]), atol=1e-5, rtol=1e-5)
        for name in fast.head:
            torch.testing.assert_close(fast.head[name], slow.head[name], atol=1e-5, rtol=1e-5)
        for stage, ingredient in fast.stages.items():
            for name, state in getattr(ingredient, "state", {}).items():
                torch.testing.assert_close(state, slow.stages[stage].state[name], atol=1e-5, rtol=1e-5)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert one.clients["loss"].tolist() == pytest.approx(other.clients["loss"].tolist(), abs=2e-5)
        assert one.correction_ratio == pytest.approx(other.correction_ratio, abs=1e-4)
        assert one.clients["id"].tolist() == other.clients["id"].tolist()


def untouched_logits(simulation: Simulation) -> Any:
    """The bare backbone under the starting head, loaded anew: no adapter in sight."""
    model = simulation.task.load_backbone().model
    head = {n.removeprefix("head."): t for n, t in fresh_head(simulation.head, simulation.experiment.seed).items()}
    with torch.no_grad():
        answer = functional_call(model, head, (), dict(simulation.test.inputs)).logits.double().numpy()
    return answer


def assert_nothing_moves(experiment: Experiment) -> None:
    simulation = Simulation(experiment)
    want = untouched_logits(simulation)
    np.testing.assert_allclose(server_logits(simulation), want, atol=1e-5)
    for _ in range(3):
        record = simulation.next_round()
        np.testing.assert_allclose(server_logits(simulation), want, atol=1e-5)
        for name, G in updates(simulation).items():
            assert length(G) < 1e-6 * max(1, length(simulation.layers[name].weight)), name
        assert record.moved_without_learning < 1e-6


def at_home(stage: str, key: str) -> str:
    """A method that the ingredient goes with: plain averaging, or the method that brings it."""
    try:
        resolve("fedit", {stage: key})
    except ValueError:
        return next(name for name, method in METHODS.items() if method.ingredients[stage] == key)
    return "fedit"

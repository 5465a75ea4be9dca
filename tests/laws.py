"""Laws that more than one kind of method must keep, as assertions on a run of the toy task."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call

from ilora.clients.sampling import fresh_head
from ilora.experiment import Experiment
from ilora.methods import METHODS, resolve
from ilora.methods.ingredients import STAGES
from ilora.simulation.client_round import ClientSide, local_work, train_in_parts, view_of
from ilora.simulation.local_clients import LocalClients, rows_of
from ilora.simulation.round_loop import Simulation
from ilora.stages.context import ClientView
from ilora.training.client_model import Parameters
from ilora.training.local_work import LocalWork
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


def remembered(simulation: Simulation, stage: str, member: int = 0) -> Parameters:
    """What a stage keeps between rounds: the server's part, and the clients', stacks over all N."""
    clients = simulation.clients.state_dict(member)
    own = {name.removeprefix(f"{stage}/"): tensor for name, tensor in clients.items() if name.startswith(f"{stage}/")}
    return simulation.servers[member].stages.hooks[stage].state | own


def next_view(simulation: Simulation, index: int | None = None) -> tuple[ClientSide, ClientView]:
    """What the clients of the next round see when it begins, or of another round, and what they have at hand."""
    if index is not None:
        simulation.server.index = index - 1
    broadcast = simulation.server.broadcast(simulation._sample_clients())
    clients = simulation.clients
    assert isinstance(clients, LocalClients)
    memory = rows_of(clients.memories[0], list(broadcast.ids))
    return clients.sides[0], view_of(clients.sides[0], broadcast, memory)


def share_and_train(side: ClientSide, view: ClientView) -> LocalWork:
    """Let the clients of a view share and train; what they did."""
    view.work.shared = side.stages.sharing(view)
    work = local_work(side, view)
    train = train_in_parts(side.engine, work, lambda fraction: None)
    view.work.trained = side.stages.training.train(view, work, train)
    return work


def same_model(one: Simulation, other: Simulation, tolerance: float = 1e-6) -> None:
    """The same update in every layer and the same head."""
    G, H = updates(one), updates(other)
    for name in G:
        np.testing.assert_allclose(G[name], H[name], atol=tolerance * max(1, length(H[name])), err_msg=name)
    for name in one.server.head:
        np.testing.assert_allclose(one.server.head[name], other.server.head[name], atol=tolerance, err_msg=name)


def compare(experiment, rounds=2):
    """Run both engines; G of every layer as a product, head, control state, what clients sent, and the scores must agree."""
    fast, slow = Simulation(experiment), Simulation(experiment.replace(engine="sequential"))
    for _ in range(rounds):
        one, other = fast.next_round(), slow.next_round()
        G, H = updates(fast), updates(slow)
        for name in G:
            torch.testing.assert_close(torch.tensor(G[name]), torch.tensor(H[name]), atol=1e-5, rtol=1e-5)
        for name in fast.server.head:
            torch.testing.assert_close(fast.server.head[name], slow.server.head[name], atol=1e-5, rtol=1e-5)
        for stage in STAGES:
            theirs = remembered(slow, stage)
            for name, state in remembered(fast, stage).items():
                torch.testing.assert_close(state, theirs[name], atol=1e-5, rtol=1e-5)
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert one.clients["loss"].tolist() == pytest.approx(other.clients["loss"].tolist(), abs=2e-5)
        assert one.correction_ratio == pytest.approx(other.correction_ratio, abs=1e-4)
        assert one.clients["id"].tolist() == other.clients["id"].tolist()


def untouched_logits(simulation: Simulation) -> Any:
    """The bare backbone under the starting head, loaded anew: no adapter in sight."""
    model = simulation.task.load_backbone().model
    head = {n.removeprefix("head."): t for n, t in fresh_head(simulation.server.head, simulation.experiment.seed).items()}
    with torch.no_grad():
        answer = functional_call(model, head, (), dict(simulation.client_data.test.inputs)).logits.double().numpy()
    return answer


def assert_nothing_moves(experiment: Experiment) -> None:
    simulation = Simulation(experiment)
    want = untouched_logits(simulation)
    np.testing.assert_allclose(server_logits(simulation), want, atol=1e-5)
    for _ in range(3):
        record = simulation.next_round()
        np.testing.assert_allclose(server_logits(simulation), want, atol=1e-5)
        for name, G in updates(simulation).items():
            assert length(G) < 1e-6 * max(1, length(simulation.server.layers[name].weight)), name
        assert record.moved_without_learning < 1e-6


def at_home(stage: str, key: str) -> str:
    """A method that the ingredient goes with: plain averaging, or the method that brings it."""
    try:
        resolve("fedit", {stage: key})
    except ValueError:
        return next(name for name, method in METHODS.items() if method.ingredients[stage] == key)
    return "fedit"

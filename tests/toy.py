"""A task of two small linears, and a slice of the digits: rounds take milliseconds, and dense matrices are cheap."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ilora.experiment import Experiment
from ilora.simulation import round_loop as simulation_module
from ilora.simulation.round_loop import Simulation
from ilora.tasks import TASKS, load_task
from ilora.tasks.base import Backbone, Data, Task
from ilora.tasks.catalogue import BackboneCard, TaskCard
from ilora.tasks.styles import Style

torch.set_num_threads(1)

LAYERS = {"query": (10, 12), "value": (14, 10)}  # one wide, one tall
CARD = TaskCard(
    title="Toy",
    about="Gaussian noise with labels of a random teacher.",
    backbones={"toy-net": BackboneCard("Toy net", "Two random linears.", LAYERS)},
    classes=("a", "b", "c", "d"),
    train_samples=240,
    test_samples=30,
    styles=("plain", "backwards", "faint"),
)
STYLES: dict[str, Style] = {
    "plain": lambda inputs: inputs,
    "backwards": lambda inputs: {"x": inputs["x"].flip(-1)},
    "faint": lambda inputs: {"x": inputs["x"] / 2},
}


class ToyModel(nn.Module):
    """Three tokens through two linears, their mean through a head; answers as transformers models do."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(12, 10)
        self.value = nn.Linear(10, 14)
        self.classifier = nn.Linear(14, 4)

    def forward(self, x: Tensor) -> SimpleNamespace:
        hidden = torch.tanh(self.value(torch.tanh(self.query(x)))).mean(-2)
        return SimpleNamespace(logits=self.classifier(hidden))


def toy_model() -> ToyModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return ToyModel().requires_grad_(False).eval()


def toy_weight(name: str) -> Tensor:
    """theta_0 of a layer."""
    return toy_model().get_parameter(f"{name}.weight").detach()


@cache
def load_toy() -> Task:
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(270, 3, 12, generator=draw)
    labels = (x.mean(1) @ torch.randn(12, 4, generator=draw)).argmax(1)
    train, test = Data({"x": x[:240]}, labels[:240]), Data({"x": x[240:]}, labels[240:])
    return Task(CARD, train, test, lambda: Backbone(toy_model(), ("classifier",)), STYLES)


NUMBERS = replace(CARD, title="Toy numbers", classes=(), regression=True, metric="pearson", metrics=("pearson", "spearman"))


@cache
def load_toy_numbers() -> Task:
    """The toy task with a number to be told instead of a class."""
    whole = load_toy()

    def numbered(data: Data) -> Data:
        return replace(data, labels=torch.tanh(data.inputs["x"].mean((1, 2)) * 3) + data.inputs["x"][:, 0, 0])

    def one_output() -> Backbone:
        model = toy_model()
        model.classifier = nn.Linear(14, 1).requires_grad_(False)
        return Backbone(model, ("classifier",))

    return replace(whole, card=NUMBERS, train=numbered(whole.train), test=numbered(whole.test), load_backbone=one_output)


@cache
def load_small_digits() -> Task:
    whole = load_task("digits")
    return Task(whole.card, whole.train[:90], whole.test[:40], whole.load_backbone, whole.styles)


@contextmanager
def small_tasks() -> Iterator[None]:
    """While it lasts, there are tasks "toy" and "toy-numbers", and "digits" has 90 samples to train on and 40 to test with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, "toy", CARD)
        patch.setitem(TASKS, "toy-numbers", NUMBERS)
        small = {"toy": load_toy, "toy-numbers": load_toy_numbers, "digits": load_small_digits}
        patch.setattr(simulation_module, "load_task", lambda name, *chosen: small[name]())
        yield


def toy_experiment(**changes: Any) -> Experiment:
    plain: dict[str, Any] = {
        "task": "toy",
        "ranks": [2, 4, 3],
        "alpha": 1.0,
        "rounds": 3,
        "local_steps": 3,
        "batch_size": 5,
        "lr": 1e-2,
    }
    return Experiment(**(plain | changes))


def dense(pair: tuple[Tensor, Tensor]) -> Any:
    """B A in float64."""
    A, B = pair
    return B.detach().double().numpy() @ A.detach().double().numpy()


def length(matrix: Any) -> float:
    """Frobenius norm."""
    return float(np.linalg.norm(matrix))


def updates(simulation: Simulation) -> dict[str, Any]:
    """The update G that the server holds in every layer, in float64, from what it would broadcast to itself."""
    parameters, base = simulation.server.model()
    s = float(base.scales[0])
    result = {}
    for name in simulation.server.layers:
        G = s * dense((parameters[f"{name}.A"][0], parameters[f"{name}.B"][0]))
        if name in base.offsets:
            G = G - dense(base.offsets[name][0])
        result[name] = G + base.merged[name].double().numpy() if name in base.merged else G
    return result


def server_logits(simulation: Simulation) -> Any:
    """What the server's model answers on the test set."""
    parameters, base = simulation.server.model()
    return simulation.engine.logits(parameters, base, simulation.client_data.test)[0].double().numpy()


def dense_qr(matrix: Any) -> tuple[Any, Any]:
    """numpy's reduced QR with diag(R) >= 0."""
    Q, R = np.linalg.qr(matrix)
    sign = np.where(np.diagonal(R) < 0, -1.0, 1.0)
    return Q * sign, R * sign[:, None]


def best(matrix: Any, rank: int) -> Any:
    """The best approximation of that rank (Eckart and Young)."""
    U, S, Vh = np.linalg.svd(matrix, full_matrices=False)
    return (U[:, :rank] * S[:rank]) @ Vh[:rank]


def draw_clients(
    ranks: list[int], d_out: int, d_in: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> list[tuple[Tensor, Tensor]]:
    """Random factors (A_k, B_k)."""
    random = np.random.default_rng((seed, d_out, d_in, *ranks))
    return [
        (torch.tensor(random.normal(size=(r, d_in)), dtype=dtype), torch.tensor(random.normal(size=(d_out, r)), dtype=dtype))
        for r in ranks
    ]


def draw_weights(clients: int, seed: int = 0) -> Any:
    """Random weights that sum to 1."""
    return np.random.default_rng((seed, clients)).dirichlet(np.full(clients, 3.0))

"""Control variates against ILoRA's, written with lists: SCAFFOLD's option I (arXiv:1910.06378), padded and cut along the rank."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from ilora.clients.sampling import gradient_weights
from ilora.experiment import Experiment
from ilora.lora.scaling import Scaling
from ilora.simulation.communication import numbers_in
from ilora.simulation.local_clients import put_rows, rows_of
from ilora.simulation.round_loop import Simulation
from ilora.stages.context import ClientView, ClientWork, Memory, RunSetting, ServerView
from ilora.stages.corrections import ControlVariates, none, steering
from ilora.training.client_model import Base
from tests.laws import next_view

RANKS = [2, 4, 1, 3]
R, D = 4, 5


class Reference:
    """c of rank r_max at the server, c_k of rank r_k at the clients; one A (r, D), one B (D, r) and one head (3,)."""

    def __init__(self) -> None:
        self.c = {"l.A": np.zeros((R, D)), "l.B": np.zeros((D, R)), "head.w": np.zeros(3)}
        self.c_k = [{"l.A": np.zeros((r, D)), "l.B": np.zeros((D, r)), "head.w": np.zeros(3)} for r in RANKS]

    def round(self, ids: list[int], gradients: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        corrections = []
        for k in ids:
            cut = {"l.A": self.c["l.A"][: RANKS[k]], "l.B": self.c["l.B"][:, : RANKS[k]], "head.w": self.c["head.w"]}
            corrections.append({name: cut[name] - self.c_k[k][name] for name in cut})
        for k, new in zip(ids, gradients, strict=True):
            change = {name: new[name] - self.c_k[k][name] for name in new}
            self.c["l.A"][: RANKS[k]] += change["l.A"] / len(RANKS)
            self.c["l.B"][:, : RANKS[k]] += change["l.B"] / len(RANKS)
            self.c["head.w"] += change["head.w"] / len(RANKS)
            self.c_k[k] = new
        return corrections


def pad(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    r = tensors["l.A"].shape[0]
    return {
        "l.A": np.pad(tensors["l.A"], ((0, R - r), (0, 0))),
        "l.B": np.pad(tensors["l.B"], ((0, 0), (0, R - r))),
        "head.w": tensors["head.w"],
    }


def stack(rows: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    padded = [pad(row) for row in rows]
    return {name: torch.tensor(np.stack([row[name] for row in padded])) for name in ("l.A", "l.B", "head.w")}


class Given:
    """An engine whose clients have these gradients; it remembers with what weights it was asked for them."""

    def __init__(self, gradient: dict[str, torch.Tensor]) -> None:
        self._gradient = gradient
        self.asked: list[list[torch.Tensor]] = []

    def gradient(self, parameters: Any, base: Base, samples: Any, weights: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        self.asked.append(weights)
        return self._gradient


class Federation:
    """Both halves of the stage, and between them what is broadcast, remembered and reported."""

    def __init__(self, scale: str = "scaffold") -> None:
        self.setting = RunSetting(0, tuple(RANKS), (10,) * len(RANKS), Scaling(1.0), {"l": (D, D)}, 1, 4, "cpu")
        self.server, self.client = (ControlVariates(self.setting, scale) for _ in range(2))
        self.server.key = self.client.key = "correction"
        self.memory: Memory = {"correction": {}}

    def begin(self, ids: list[int], gradient: dict[str, torch.Tensor]) -> tuple[ServerView, ClientView]:
        """What both sides see when these clients begin a round."""
        ranks = tuple(RANKS[k] for k in ids)
        start = stack([{"l.A": np.zeros((r, D)), "l.B": np.zeros((D, r)), "head.w": np.zeros(3)} for r in ranks])
        base = Base(ranks, torch.ones(len(ids)))
        known: Any = {"setting": self.setting, "index": 1, "ids": tuple(ids), "ranks": ranks, "budgets": ranks}
        server = ServerView(**known, start=start, base=base, model=lambda: (start, base))
        engine: Any = Given(gradient)
        received = {"correction": self.server.broadcast(server)}
        samples, memory = [torch.arange(10) for _ in ids], rows_of(self.memory, ids)
        return server, ClientView(
            **known, samples=samples, engine=engine, received=received, memory=memory, work=ClientWork(start, base)
        )

    def round(self, ids: list[int], gradient: dict[str, torch.Tensor]) -> tuple[ClientView, dict[str, torch.Tensor]]:
        """One round of these clients: what they saw and left behind, and the corrections."""
        server, view = self.begin(ids, gradient)
        correction = self.client(view)
        put_rows(self.memory["correction"], view.memory["correction"], ids, len(RANKS))
        self.server.update(replace(server, report=view.work.report))
        return view, correction


def flat(stacks: dict[str, torch.Tensor]) -> torch.Tensor:
    """(C, n) all that belongs to each client, in one row."""
    return torch.cat([tensor.flatten(1) for tensor in stacks.values()], 1)


def test_five_rounds_with_partial_participation_and_mixed_ranks_follow_the_reference():
    random, reference, federation = np.random.default_rng(0), Reference(), Federation()
    for ids in ([0, 1, 2, 3], [1, 3], [0, 1], [2], [0, 2, 3]):
        gradients = [
            {"l.A": random.normal(size=(RANKS[k], D)), "l.B": random.normal(size=(D, RANKS[k])), "head.w": random.normal(size=3)}
            for k in ids
        ]
        sent = stack(gradients)
        view, got = federation.round(ids, sent)
        want = stack(reference.round(ids, gradients))
        for name in want:
            torch.testing.assert_close(got[name], want[name])
            torch.testing.assert_close(federation.server.state[f"c/{name}"], torch.tensor(reference.c[name]))
        torch.testing.assert_close(torch.stack(view.work.notes["gradient"]), flat(sent))
        torch.testing.assert_close(torch.stack(view.work.notes["correction"]), flat(want))
        kept = stack(reference.c_k)
        for name in want:
            torch.testing.assert_close(federation.memory["correction"][f"c_k/{name}"], kept[name])


def test_the_first_round_is_not_corrected():
    gradient = stack([{"l.A": np.ones((r, D)), "l.B": np.ones((D, r)), "head.w": np.ones(3)} for r in RANKS])
    _, correction = Federation().round([0, 1, 2, 3], gradient)
    assert not any(tensor.any() for tensor in correction.values())


def test_with_everyone_there_the_servers_variate_is_the_mean_of_the_clients():
    federation, random = Federation(), np.random.default_rng(1)
    for _ in range(3):
        gradient = stack([
            {"l.A": random.normal(size=(r, D)), "l.B": random.normal(size=(D, r)), "head.w": random.normal(size=3)} for r in RANKS
        ])  # fmt: skip
        federation.round([0, 1, 2, 3], gradient)
    for name in gradient:
        torch.testing.assert_close(federation.server.state[f"c/{name}"], federation.memory["correction"][f"c_k/{name}"].mean(0))


@pytest.mark.parametrize("scale", ["scaffold", "official"])
def test_the_scale_reaches_whoever_computes_the_gradient(scale):
    gradient = stack([{"l.A": np.ones((2, D)), "l.B": np.ones((D, 2)), "head.w": np.ones(3)}])
    view, _ = Federation(scale).round([0], gradient)
    ((weights,),) = view.engine.asked  # type: ignore[attr-defined]
    assert torch.equal(weights, gradient_weights(10, 4, scale))


def test_no_correction_asks_for_no_gradient_and_sends_nothing_and_variates_a_number_for_each_that_a_client_has_each_way():
    federation, ids = Federation(), [1, 2]
    gradient = stack([{"l.A": np.ones((RANKS[k], D)), "l.B": np.ones((D, RANKS[k])), "head.w": np.ones(3)} for k in ids])
    _, view = federation.begin(ids, gradient)
    none(view)
    assert view.engine.asked == []  # type: ignore[attr-defined]
    assert not view.work.report
    view, _ = federation.round(ids, gradient)
    for sent in (view.work.report, view.received):
        assert numbers_in(view, sent["correction"]) == sum(2 * D * RANKS[k] + 3 for k in ids)


def test_the_record_says_how_a_correction_turns_each_gradient():
    g = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0]])
    v = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]])
    said = {name: column.tolist() for name, column in steering(g, v).items()}
    assert said["gradient_norm"] == pytest.approx([3, 4])
    assert said["correction_norm"] == pytest.approx([0, 3])
    assert said["cosine_to_correction"] == pytest.approx([0, 0])
    assert said["cosine_to_mean"] == pytest.approx([0.6, 0.8])  # the mean is (1.5, 2)
    assert said["corrected_cosine_to_mean"] == pytest.approx([0.6, (3 * 1.5 + 4 * 2) / (5 * 2.5)])


def test_c_k_may_be_taken_from_some_of_the_samples_drawn_anew_each_round_and_counted():
    def gradient(most: int, round: int = 1) -> tuple[torch.Tensor, int]:
        simulation = Simulation(Experiment(ranks=[2, 3], local_steps=1, batch_size=4))
        _, view = next_view(simulation, round)
        return torch.cat([g.flatten() for g in view.gradient("scaffold", most).values()]), view.work.forwards

    whole, all_samples = gradient(0)
    assert torch.equal(gradient(5_000)[0], whole)
    some, forwards = gradient(40)
    assert (forwards, all_samples) == (80, 1437)
    assert torch.equal(gradient(40)[0], some)
    assert not torch.equal(gradient(40, round=2)[0], some)
    assert 0.3 < torch.nn.functional.cosine_similarity(some, whole, dim=0) < 0.9999


def test_the_number_of_samples_reaches_the_clients():
    simulation = Simulation(Experiment(ranks=[2, 3], local_steps=2, batch_size=4, options={"control_samples": 25}))
    assert simulation.next_round().forwards == 2 * 25 + 2 * 2 * 4

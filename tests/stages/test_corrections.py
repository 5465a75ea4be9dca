"""Control variates against ILoRA's, written with lists: SCAFFOLD's option I (arXiv:1910.06378), padded and cut along the rank."""

from typing import Any

import numpy as np
import pytest
import torch

from ilora.experiment import Experiment
from ilora.lora.scaling import Scaling
from ilora.simulation.round_loop import Simulation
from ilora.stages.context import RunSetting
from ilora.stages.corrections import ControlVariates, none, steering

RANKS = [2, 4, 1, 3]
R, D = 4, 5


class Reference:
    """c of rank r_max at the server, c_k of rank r_k at the clients; one A (r, D), one B (D, r) and one head (3,)."""

    def __init__(self) -> None:
        self.c = {"A": np.zeros((R, D)), "B": np.zeros((D, R)), "head": np.zeros(3)}
        self.c_k = [{"A": np.zeros((r, D)), "B": np.zeros((D, r)), "head": np.zeros(3)} for r in RANKS]

    def round(self, ids: list[int], gradients: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
        corrections = []
        for k in ids:
            cut = {"A": self.c["A"][: RANKS[k]], "B": self.c["B"][:, : RANKS[k]], "head": self.c["head"]}
            corrections.append({name: cut[name] - self.c_k[k][name] for name in cut})
        for k, new in zip(ids, gradients, strict=True):
            change = {name: new[name] - self.c_k[k][name] for name in new}
            self.c["A"][: RANKS[k]] += change["A"] / len(RANKS)
            self.c["B"][:, : RANKS[k]] += change["B"] / len(RANKS)
            self.c["head"] += change["head"] / len(RANKS)
            self.c_k[k] = new
        return corrections


def pad(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    r = tensors["A"].shape[0]
    return {
        "A": np.pad(tensors["A"], ((0, R - r), (0, 0))),
        "B": np.pad(tensors["B"], ((0, 0), (0, R - r))),
        "head": tensors["head"],
    }


def stack(rows: list[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    padded = [pad(row) for row in rows]
    return {name: torch.tensor(np.stack([row[name] for row in padded])) for name in ("A", "B", "head")}


def owned(ids: list[int]) -> dict[str, torch.Tensor]:
    return stack([{"A": np.ones((RANKS[k], D)), "B": np.ones((D, RANKS[k])), "head": np.ones(3)} for k in ids])


class FakeTurn:
    """What control variates look at: who takes part, what they own, and their gradients."""

    def __init__(self, ids: list[int], gradient: dict[str, torch.Tensor]) -> None:
        self.ids, self._gradient = ids, gradient
        self.columns: dict[str, torch.Tensor] = {}
        self.asked: list[str] = []
        self.owned = None

    def spread(self, A: Any, B: Any) -> dict[str, torch.Tensor]:
        return owned(self.ids)

    def gradient(self, scale: str, most: int) -> dict[str, torch.Tensor]:
        self.asked.append(scale)
        return self._gradient


def turn_of(ids: list[int], gradient: dict[str, torch.Tensor]) -> Any:
    return FakeTurn(ids, gradient)


def made(clients: int, scale: str = "scaffold") -> ControlVariates:
    return ControlVariates(RunSetting(0, (4,) * clients, (10,) * clients, Scaling(1.0), {}, 1, 4, "cpu"), scale)


def test_five_rounds_with_partial_participation_and_mixed_ranks_follow_the_reference():
    random, reference, rule = np.random.default_rng(0), Reference(), made(len(RANKS))
    for ids in ([0, 1, 2, 3], [1, 3], [0, 1], [2], [0, 2, 3]):
        gradients = [
            {"A": random.normal(size=(RANKS[k], D)), "B": random.normal(size=(D, RANKS[k])), "head": random.normal(size=3)}
            for k in ids
        ]
        sent = stack(gradients)
        got = rule(turn_of(ids, sent))
        want = stack(reference.round(ids, gradients))
        for name in want:
            torch.testing.assert_close(got[name], want[name])
            torch.testing.assert_close(rule.state[f"c/{name}"], torch.tensor(reference.c[name]))
        kept = stack(reference.c_k)
        for name in want:
            torch.testing.assert_close(rule.state[f"c_k/{name}"], kept[name])


def test_the_first_round_is_not_corrected():
    gradient = stack([{"A": np.ones((r, D)), "B": np.ones((D, r)), "head": np.ones(3)} for r in RANKS])
    correction = made(4)(turn_of([0, 1, 2, 3], gradient))
    assert not any(tensor.any() for tensor in correction.values())


def test_with_everyone_there_the_servers_variate_is_the_mean_of_the_clients():
    rule, random = made(4), np.random.default_rng(1)
    for _ in range(3):
        gradient = stack([
            {"A": random.normal(size=(r, D)), "B": random.normal(size=(D, r)), "head": random.normal(size=3)} for r in RANKS
        ])  # fmt: skip
        rule(turn_of([0, 1, 2, 3], gradient))
    for name in gradient:
        torch.testing.assert_close(rule.state[f"c/{name}"], rule.state[f"c_k/{name}"].mean(0))


@pytest.mark.parametrize("scale", ["scaffold", "official"])
def test_the_scale_reaches_whoever_computes_the_gradient(scale):
    turn = turn_of([0], stack([{"A": np.ones((2, D)), "B": np.ones((D, 2)), "head": np.ones(3)}]))
    made(1, scale)(turn)
    assert turn.asked == [scale]


def test_no_correction_asks_for_no_gradient_and_sends_nothing():
    turn = turn_of([0], {})
    none(turn)
    assert turn.asked == []
    assert not hasattr(none, "extra_floats")
    assert ControlVariates.extra_floats == 1


def test_the_record_says_how_a_correction_turns_each_gradient():
    g = {"A": torch.tensor([[[3.0, 0.0]], [[0.0, 4.0]]]), "head": torch.zeros(2, 1)}
    v = {"A": torch.tensor([[[0.0, 0.0]], [[3.0, 0.0]]]), "head": torch.zeros(2, 1)}
    said = {name: column.tolist() for name, column in steering(g, v).items()}
    assert said["gradient_norm"] == pytest.approx([3, 4])
    assert said["correction_norm"] == pytest.approx([0, 3])
    assert said["cosine_to_correction"] == pytest.approx([0, 0])
    assert said["cosine_to_mean"] == pytest.approx([0.6, 0.8])  # the mean is (1.5, 2)
    assert said["corrected_cosine_to_mean"] == pytest.approx([0.6, (3 * 1.5 + 4 * 2) / (5 * 2.5)])


def test_c_k_may_be_taken_from_some_of_the_samples_drawn_anew_each_round_and_counted():
    def gradient(most: int, round: int = 1) -> tuple[torch.Tensor, int]:
        simulation = Simulation(Experiment(ranks=[2, 3], local_steps=1, batch_size=4))
        turn = simulation.open_turn(round)
        return torch.cat([g.flatten() for g in turn.gradient("scaffold", most).values()]), turn.forwards

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

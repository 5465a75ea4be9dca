"""Clients weighed by what they contribute (CO-PFL's COWA, arXiv:2510.20219, a reconstruction).

A client contributes where it moves another way than the others, and where the others' model fails on its data. The second
cannot tell rare data from wrong labels, so a client full of noise looks like the greatest contributor; `clip` bounds it.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ilora import diagnostics
from ilora.lora import low_rank
from ilora.lora.factors import Factors, Stack
from ilora.randomness import torch_generator
from ilora.stages.context import RunSetting, Turn, slots_of
from ilora.stages.weighting import samples
from ilora.training.client_model import Base, Parameters
from ilora.training.losses import sample_losses


class Contribution:
    """p_n = Gamma_n, Gamma = mu Gamma^grad + (1 - mu) Gamma^data, each normalised over the round's clients (form ours).

    Every client of the round receives the others' model once more for Gamma^data, counted as one more download.
    """

    def __init__(self, setting: RunSetting, mu: float = 0.5, clip: float = 0.0, probe: int = 64) -> None:
        self.mu, self.clip, self.probe = mu, clip, probe
        self.extra_floats_down = 0 if mu == 1 else 1

    def __call__(self, turn: Turn) -> Tensor:
        """The weights (C,); those of the samples where a client is alone, and so has no others."""
        if len(turn.ids) == 1:
            return samples(turn)
        moves, w = shared_movements(turn), others(samples(turn))
        grad = novelty([moves[layer] for layer in turn.layers], w)
        data = self.surprise(turn, leave_one_out(turn, moves, w)) if self.mu < 1 else torch.ones_like(grad)
        turn.columns |= {"gamma_grad": share(grad), "gamma_data": share(data)}
        gamma = self.mu * share(grad) + (1 - self.mu) * share(data)
        return at_most(gamma, max(1.0, self.clip) / len(gamma)) if self.clip else gamma

    def surprise(self, turn: Turn, model: "LeaveOneOut") -> Tensor:
        """Gamma^data (C,): the cross-entropy of the others' model on up to `probe` samples that client n has trained on."""
        chosen = []
        for k, own in zip(turn.ids, turn.samples, strict=True):
            draw = torch_generator(turn.setting.seed, "contribution", turn.index, k)
            chosen.append(own[torch.randperm(len(own), generator=draw)[: self.probe].to(own.device)])
        turn.forwards += sum(map(len, chosen))
        answers = turn.engine.own_logits(model.parameters, model.base, chosen)
        labels = [turn.engine.data.labels[index] for index in chosen]
        return torch.stack([sample_losses(z, y).mean() for z, y in zip(answers, labels, strict=True)])


class LeaveOneOut(NamedTuple):
    """w_{-n} for each of C clients: the server's model, the others' movement as a low-rank branch on its base, their head."""

    parameters: Parameters
    base: Base


def shared_movements(turn: Turn) -> dict[str, Stack]:
    """What the server sees of each client's movement delta_n: layer -> stack over the slots that were sent."""
    moves = {}
    for layer in turn.layers:
        sent = slots_of(turn.sharing.send_A, layer) | slots_of(turn.sharing.send_B, layer)
        start, trained = (masked(turn.stack(model, layer), sent) for model in (turn.start, turn.result))
        moves[layer] = diagnostics.movements(start, trained, turn.base.scales)
    return moves


def masked(stack: Stack, slots: Tensor) -> Stack:
    """The stack with zeros outside of `slots` (C, R)."""
    return Stack(stack.A * slots[:, :, None], stack.B * slots[:, None, :], stack.ranks)


def others(p: Tensor) -> Tensor:
    """(C, C) row n: the weights of everyone but n, which sum to 1."""
    rest = p.expand(len(p), -1) * (1 - torch.eye(len(p)).to(p))
    return rest / rest.sum(1, keepdim=True)


def novelty(moves: list[Stack], w: Tensor) -> Tensor:
    """Gamma^grad_n = 1 - cos(delta_n, delta_{-n}) over all layers, (C,); moves: one stack per layer, w (C, C) from `others`.

    Gram identity: with G_ij = <delta_i, delta_j>, <delta_n, delta_{-n}> = (w G)_nn and ||delta_{-n}||^2 = (w G w^T)_nn.
    """
    G = torch.stack([diagnostics.inner_products(move) for move in moves]).sum(0)
    w = w.to(G)
    length = (G.diagonal() * (w @ G @ w.T).diagonal()).clamp_min(0).sqrt()
    cosine = (w @ G).diagonal() / length.clamp_min(1e-30)
    return (1 - cosine.clamp(-1, 1)).float()


def leave_one_out(turn: Turn, moves: dict[str, Stack], w: Tensor) -> LeaveOneOut:
    """The model that each client's others make without it; w (C, C) from `others`."""
    server, base = turn.before
    offsets = {}
    for layer, move in moves.items():
        without = [low_rank.compact(move.concatenate(row)).times(-1.0) for row in w]
        if layer in base.offsets:
            cut_out = Factors(*(factor.double() for factor in base.offsets[layer][0]))
            without = [low_rank.add(own, cut_out) for own in without]
        offsets[layer] = Stack.of([Factors(own.A.float(), own.B.float()) for own in without])
    parameters = {name: tensor.expand(len(w), *tensor.shape[1:]) for name, tensor in server.items()}
    for name in parameters if turn.sharing.head else ():
        if name.startswith("head."):
            parameters[name] = torch.einsum("nk,k...->n...", w, turn.result[name])
    return LeaveOneOut(parameters, replace(base, ranks=base.ranks * len(w), scales=base.scales.expand(len(w)), offsets=offsets))


def share(gamma: Tensor) -> Tensor:
    """(C,) numbers of 0 or more as shares of their sum; alike where all are 0."""
    total = gamma.sum()
    return gamma / total if total > 0 else torch.full_like(gamma, 1 / len(gamma))


def at_most(weights: Tensor, most: float) -> Tensor:
    """(C,) weights none of which is above `most`, what is cut off given to the others in proportion; most >= 1/C."""
    while (weights > most).any():
        bound = weights >= most
        left = 1 - most * float(bound.sum())
        weights = torch.where(bound, most, weights * left / weights[~bound].sum().clamp_min(1e-30))
    return weights

"""Clients weighed by what they contribute (CO-PFL's COWA, arXiv:2510.20219, a reconstruction).

A client contributes where it moves another way than the others, and where the others' model fails on its data. The second
cannot tell rare data from wrong labels, so a client full of noise looks like the greatest contributor; `clip` bounds it.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ilora import diagnostics
from ilora.lora import low_rank
from ilora.lora.factors import Factors, Stack
from ilora.randomness import torch_generator
from ilora.stages.context import ClientView, RunSetting, ServerView, slots_of
from ilora.stages.stage import Stage
from ilora.stages.weighting import samples
from ilora.training.client_model import Parameters, layer_stack

OFFSET = "offset/"  # how the names of products begin that are subtracted from the asked model's base


class Contribution(Stage):
    """p_n = Gamma_n, Gamma = mu Gamma^grad + (1 - mu) Gamma^data, each normalised over the round's clients (form ours).

    Every client of the round receives the others' model once more for Gamma^data, counted as one more download.
    """

    def __init__(self, setting: RunSetting, mu: float = 0.5, clip: float = 0.0, probe: int = 64) -> None:
        self.mu, self.clip, self.probe = mu, clip, probe
        self.asks = mu < 1

    def ask(self, server: ServerView) -> Parameters:
        """To each client the model that its others make without it."""
        return {} if len(server.ids) == 1 else leave_one_out(server, shared_movements(server), others(samples(server)))

    def reply(self, view: ClientView, question: Parameters) -> Parameters:
        """Gamma^data (C,): the cross-entropy of the others' model on up to `probe` samples that client n has trained on."""
        parameters = {name: own for name, own in question.items() if not name.startswith(OFFSET)}
        subtracted = {name.removeprefix(OFFSET): own for name, own in question.items() if name.startswith(OFFSET)}
        R, C = view.setting.rank, len(view.ids)
        offsets = {layer: layer_stack(subtracted, layer, (len(subtracted[f"{layer}.A"][0]),) * C) for layer in view.layers}
        scales = view.base.scales.new_full((C,), view.setting.scaling(R))
        base = replace(view.base, ranks=(R,) * C, scales=scales, offsets=offsets)
        losses = view.sample_losses(parameters, self._chosen(view), base)
        return {"loss": torch.stack([own.mean() for own in losses])}

    def _chosen(self, view: ClientView) -> list[Tensor]:
        chosen = []
        for k, own in zip(view.ids, view.samples, strict=True):
            draw = torch_generator(view.setting.seed, "contribution", view.index, k)
            chosen.append(own[torch.randperm(len(own), generator=draw)[: self.probe].to(own.device)])
        return chosen

    def __call__(self, server: ServerView) -> Tensor:
        """The weights (C,); those of the samples where a client is alone, and so has no others."""
        if len(server.ids) == 1:
            return samples(server)
        moves, w = shared_movements(server), others(samples(server))
        grad = novelty([moves[layer] for layer in server.layers], w)
        data = server.answers[self.key]["loss"] if self.asks else torch.ones_like(grad)
        server.columns["gamma_grad"], server.columns["gamma_data"] = share(grad), share(data)
        gamma = self.mu * share(grad) + (1 - self.mu) * share(data)
        return at_most(gamma, max(1.0, self.clip) / len(gamma)) if self.clip else gamma


def shared_movements(server: ServerView) -> dict[str, Stack]:
    """What the server sees of each client's movement delta_n: layer -> stack over the slots that were sent."""
    moves = {}
    for layer in server.layers:
        slots = slots_of(server.shared.send_A, layer) | slots_of(server.shared.send_B, layer)
        start, sent = (masked(server.stack(model, layer), slots) for model in (server.start, server.sent))
        moves[layer] = diagnostics.movements(start, sent, server.scales)
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


def leave_one_out(server: ServerView, moves: dict[str, Stack], w: Tensor) -> Parameters:
    """The model that each client's others make without it; w (C, C) from `others`.

    The server's model, in which the others' movement, and what is cut out of the base, are products to be subtracted from it
    ("offset/<layer>.A", "offset/<layer>.B"), with the others' mean head.
    """
    before, base = server.before
    question = {name: tensor.expand(len(w), *tensor.shape[1:]) for name, tensor in before.items()}
    for layer, move in moves.items():
        without = [low_rank.compact(move.concatenate(row)).times(-1.0) for row in w]
        if layer in base.offsets:
            cut_out = Factors(*(factor.double() for factor in base.offsets[layer][0]))
            without = [low_rank.add(own, cut_out) for own in without]
        offset = Stack.of([Factors(own.A.float(), own.B.float()) for own in without])
        question |= {f"{OFFSET}{layer}.A": offset.A, f"{OFFSET}{layer}.B": offset.B}
    heads = [name for name in question if name.startswith("head.") and server.shared.head]
    return question | {name: torch.einsum("nk,k...->n...", w, server.sent[name]) for name in heads}


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

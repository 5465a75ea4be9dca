"""Rewards that clients learn and a router fuses (MoR, arXiv:2605.03426, a reconstruction; its first posting was withdrawn).

Clients never send a policy. Each sends one reward head, of its own rank, that it learned from preferences in its own samples;
the server learns which client to trust where, and trains the policy on the fused reward.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ilora.randomness import torch_generator
from ilora.stages.features import principal_plane


def preference_loss(better: Tensor, worse: Tensor) -> Tensor:
    """-mean log sigma(r(x, y+) - r(x, y-)), the Bradley-Terry model."""
    return -functional.logsigmoid(better - worse).mean()


def wrong_labels(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """(n,) for each label another one, all others as likely."""
    step = torch.randint(1, classes, labels.shape, generator=generator).to(labels.device)
    return (labels + step) % classes


def fit_reward(
    features: Tensor, labels: Tensor, classes: int, rank: int, generator: torch.Generator, steps: int = 200
) -> tuple[Tensor, Tensor]:
    """V (classes, r) and W (r, d) of r(x, y) = <V W phi(x), e_y>, by Bradley-Terry on (label > wrong label) pairs.

    features (n, d); every step meets each sample with another wrong label. Adam at 0.05, weight decay 1e-3 (ours).
    """
    draw = (torch.randn(shape, generator=generator).to(features) for shape in ((classes, rank), (rank, features.shape[1])))
    V, W = ((0.1 * tensor).requires_grad_() for tensor in draw)
    optimizer = torch.optim.AdamW([V, W], lr=0.05, weight_decay=1e-3)
    for _ in range(steps):
        scores = features @ W.T @ V.T
        wrong = wrong_labels(labels, classes, generator)
        loss = preference_loss(scores.gather(1, labels[:, None]), scores.gather(1, wrong[:, None]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return V.detach(), W.detach()


def standardised(scores: Tensor) -> Tensor:
    """Each client's rewards over all prompts and answers with mean 0 and deviation 1; scores (N, m, classes)."""
    mean, deviation = scores.mean((1, 2), keepdim=True), scores.std((1, 2), keepdim=True)
    return (scores - mean) / deviation.clamp_min(1e-6)


def trust(router: Tensor, features: Tensor) -> Tensor:
    """g(x) = softmax(router [phi(x); 1]) over the clients: router (N, d + 1), features (m, d) -> (m, N)."""
    return (features @ router[:, :-1].T + router[:, -1]).softmax(-1)


def fused(weights: Tensor, scores: Tensor) -> Tensor:
    """R(x, y) = sum_k g_k(x) r_k(x, y): weights (m, N), scores (N, m, classes) -> (m, classes)."""
    return torch.einsum("mn,nmc->mc", weights, scores)


def fit_router(features: Tensor, scores: Tensor, labels: Tensor, generator: torch.Generator, steps: int = 200) -> Tensor:
    """The router (N, d + 1), by Bradley-Terry on the fused reward of anchor pairs (label > a wrong label).

    features (a, d), scores (N, a, classes), labels (a,). From zero, which trusts everyone alike; Adam at 0.05, decay 1e-2 (ours).
    """
    router = torch.zeros(len(scores), features.shape[1] + 1, device=features.device, requires_grad=True)
    optimizer = torch.optim.AdamW([router], lr=0.05, weight_decay=1e-2)
    for _ in range(steps):
        R = fused(trust(router, features), scores)
        wrong = wrong_labels(labels, scores.shape[-1], generator)
        loss = preference_loss(R.gather(1, labels[:, None]), R.gather(1, wrong[:, None]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return router.detach()


def projection(features: Tensor) -> Tensor:
    """(m, 2) the features (m, d) in their principal plane, scaled into 0..1."""
    flat = principal_plane(features)
    low, high = flat.min(0).values, flat.max(0).values
    return (flat - low) / (high - low).clamp_min(1e-12)


def on_grid(points: Tensor, weights: Tensor, cells: int) -> Tensor:
    """(N, cells, cells) the mean of weights (m, N) over the points (m, 2) in each cell; NaN where there is none."""
    column, row = (points * cells).long().clamp(0, cells - 1).T
    place = torch.nn.functional.one_hot(row * cells + column, cells**2).to(weights)  # (m, cells^2)
    return (weights.T @ place / place.sum(0)).view(-1, cells, cells)


def separate(generator_seed: int, k: int, own: Tensor, public: float) -> tuple[Tensor, Tensor]:
    """A client's samples in two: those it keeps, and the share that it gives away as prompts (at least one, if it has two)."""
    order = torch.randperm(len(own), generator=torch_generator(generator_seed, "public", k)).to(own.device)
    count = min(len(own) - 1, max(1, round(public * len(own))))
    return own[order[count:]], own[order[:count]]

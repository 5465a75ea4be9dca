"""What the features that a head sees tell: how two kinds depend on each other, and whether they give away the client."""

import torch
from torch import Tensor


def linear_dependence(z: Tensor, other: Tensor) -> Tensor:
    """Linear HSIC of features (K, n, d), normalised to 0..1 (linear CKA): ||Z^T Z'||_F^2 / (||Z^T Z||_F ||Z'^T Z'||_F), (K,).

    It vanishes where no feature of the one is correlated with any of the other; dependence that is not linear escapes it.
    """
    Z, Y = standardised(z), standardised(other)
    cross, own, others = (squared_gram(*pair) for pair in ((Z, Y), (Z, Z), (Y, Y)))
    return cross / (own * others).clamp_min(1e-12).sqrt()


def standardised(z: Tensor) -> Tensor:
    """Every feature with mean 0 and deviation 1 over the samples (K, n, d); a feature that stands still becomes 0."""
    centred = z - z.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()


def squared_gram(Z: Tensor, Y: Tensor) -> Tensor:
    """||Z^T Y||_F^2 of (K, n, d) and (K, n, d'), over n^2."""
    return (Z.transpose(1, 2) @ Y / Z.shape[1]).square().sum((1, 2))


def class_means(z: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Mean of features (n, d) per class, (classes, d), zeros where there is none; and 1 where there is one, (classes,)."""
    member = torch.nn.functional.one_hot(labels, classes).to(z)
    count = member.sum(0)
    return (member.T @ z) / count.clamp_min(1)[:, None], (count > 0).to(z)


def guessed(z: Tensor, ridge: float = 1e-3) -> Tensor:
    """(C,) share of each client's features (C, n, d) that a linear probe gives to the right client; chance is 1/C.

    Least squares on the clients' first halves, asked about their second halves.
    """
    C, n, _ = z.shape
    half = n // 2
    if C < 2 or half == 0:
        return torch.full((C,), float("nan"), device=z.device)
    known, asked = z[:, :half].flatten(0, 1).double(), z[:, half:].flatten(0, 1).double()
    mean, spread = known.mean(0), known.std(0) + 1e-6
    X, asked = (torch.nn.functional.pad((part - mean) / spread, (0, 1), value=1.0) for part in (known, asked))
    owner = torch.eye(C, device=z.device, dtype=torch.float64).repeat_interleave(half, 0)
    W = torch.linalg.solve(X.T @ X + ridge * len(X) * torch.eye(X.shape[1]).to(X), X.T @ owner)
    answers = (asked @ W).argmax(1).view(C, n - half)
    return (answers == torch.arange(C, device=z.device)[:, None]).float().mean(1)


def principal_plane(z: Tensor) -> Tensor:
    """Features (..., d) in the plane of their two strongest directions, (..., 2) float64; each one's largest part is positive."""
    centred = z.flatten(0, -2).double()
    centred = centred - centred.mean(0)
    _, _, Vh = torch.linalg.svd(centred, full_matrices=False)
    axes = Vh[:2]
    sign = axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    return (centred @ (axes * sign).T).view(*z.shape[:-1], -1)

"""Made-up clients: factors of one layer with a chosen spectrum, overlap, rotation and noise, to try aggregation rules on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora.checks import FieldError
from ilora.lora.factors import Factors
from ilora.randomness import torch_generator


def make_clients(
    ranks: Sequence[int],
    dimension: int,
    *,
    decay: float = 0.7,
    overlap: float = 0.5,
    rotation: float = 0.0,
    noise: float = 0.0,
    seed: int = 0,
) -> list[Factors]:
    """(A_k, B_k) of K clients with B_k A_k = U_k diag(1, decay, decay^2, ...) V_k^T, plus noise.

    dimension: d_out and d_in. overlap in 0..1 is phi between any two clients' column spaces, and row spaces: 0 orthogonal,
    1 one inside the other. rotation in 0..1 turns each client's slots among themselves, up to a random quarter turn: B_k Q_k
    and Q_k^T A_k, the same product. noise: Gaussian, as a share of each factor's length. FieldError for a dimension that
    cannot hold so many directions.
    """
    most = max(ranks) + sum(ranks)
    if dimension < most:
        allowed = f"{most} or more, the ranks and the largest of them once more"
        raise FieldError("dimension", dimension, allowed, f"dimension is {dimension}; allowed is {allowed}.")
    draw = torch_generator(seed, "synthetic")
    columns, rows = (_spaces(ranks, dimension, overlap, draw) for _ in range(2))
    return [_client(U, V, decay, _turn(len(U), rotation, draw), noise, draw) for U, V in zip(columns, rows, strict=True)]


def _spaces(ranks: Sequence[int], dimension: int, overlap: float, draw: torch.Generator) -> list[Tensor]:
    """(r_k, d) orthonormal directions of each client: a common part and one of its own, mixed so that phi = overlap."""
    Q = torch.linalg.qr(torch.randn(dimension, max(ranks) + sum(ranks), generator=draw)).Q.T
    common, own = Q[: max(ranks)], Q[max(ranks) :].split(list(ranks))
    cosine = overlap**0.5  # between two clients' directions of the same number; phi is its square
    return [cosine**0.5 * common[: len(part)] + (1 - cosine) ** 0.5 * part for part in own]


def _turn(rank: int, rotation: float, draw: torch.Generator) -> Tensor:
    """(r, r) orthogonal: exp of a random skew-symmetric matrix whose fastest turn is `rotation` times 90 degrees."""
    raw = torch.randn(rank, rank, generator=draw)
    skew = raw - raw.T
    fastest = torch.linalg.matrix_norm(skew, 2).clamp_min(1e-12)
    return torch.matrix_exp(skew / fastest * rotation * torch.pi / 2)


def _client(U: Tensor, V: Tensor, decay: float, Q: Tensor, noise: float, draw: torch.Generator) -> Factors:
    half = (decay ** torch.arange(len(U), dtype=U.dtype)).sqrt()[:, None]
    A, B = Q.T @ (half * V), (half * U).T @ Q
    return Factors(_disturbed(A, noise, draw), _disturbed(B, noise, draw))


def _disturbed(factor: Tensor, noise: float, draw: torch.Generator) -> Tensor:
    random = torch.randn(factor.shape, generator=draw)
    return factor + noise * random * (factor.norm() / random.norm())

"""What a round did to one layer: aggregation error, alignment, drift, rank collapse. Pure functions of factors.

Movements are stacks too: D_k = s_k (B'_k A'_k - B_k A_k) is the product of [A'_k; A'_k - A_k] and s_k [B'_k - B_k, B_k], which is
exactly zero where nobody moved. Sums and norms are taken in float64, so that small movements do not drown in Gram terms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate, relative
from ilora.lora.factors import Factors, Stack


class Bases(NamedTuple):
    """Orthonormal bases of K column spaces U (K, d_out, R) and row spaces V (K, d_in, R): the first `sizes` (K,) of each."""

    U: Tensor
    V: Tensor
    sizes: Tensor


def movements(start: Stack, trained: Stack, scales: Tensor, dtype: torch.dtype = torch.float64) -> Stack:
    """The local movements D_k of K clients as one stack of up to 2R slots."""
    s = scales.to(dtype)[:, None, None]
    A, B, A0, B0 = (tensor.to(dtype) for tensor in (trained.A, trained.B, start.A, start.B))
    A, B = torch.cat([A, A - A0], 1), torch.cat([B - B0, B0], 2) * s
    return Stack(A, B, (A.shape[1],) * len(start))


def norms(stack: Stack) -> Tensor:
    """(K,) Frobenius norms of the products, by the Gram identity."""
    gram = (stack.B.transpose(1, 2) @ stack.B) * (stack.A @ stack.A.transpose(1, 2))
    return gram.sum((1, 2)).clamp_min(0).sqrt()


def inner_products(stack: Stack) -> Tensor:
    """(K, K) <D_i, D_j>_F between products, by the Gram identity."""
    K, slots = stack.A.shape[:2]
    A, B = stack.A.flatten(0, 1), stack.B.transpose(1, 2).flatten(0, 1)
    return ((A @ A.T) * (B @ B.T)).view(K, slots, K, slots).sum((1, 3))


def cosines(stack: Stack) -> Tensor:
    """(K, K) cosines <D_i, D_j> / (||D_i|| ||D_j||) between products; NaN where one is zero."""
    inner = inner_products(stack)
    length = inner.diagonal().clamp_min(0).sqrt()
    return (inner / (length[:, None] * length[None, :])).clamp(-1, 1)


def drift(updates: Stack | Sequence[tuple[Tensor, Tensor]], weights: Tensor) -> tuple[float, Tensor]:
    """D = sum_k p_k ||D_k - D||^2 / ||D||^2 with D = sum_k p_k D_k, and ||D_k - D|| / ||D|| for each client (K,).

    updates: a stack of products, or pairs (A_k, B_k). NaN where they cancel: a mean of rounding errors has no length to go by.
    """
    stack = updates if isinstance(updates, Stack) else Stack.of(updates)
    lengths = norms(stack)
    mean = low_rank.compact(stack.concatenate(weights))
    square = low_rank.norm(mean) ** 2
    with_mean = ((stack.B.transpose(1, 2) @ mean.B) * (stack.A @ mean.A.T)).sum((1, 2))
    distance = (lengths.square() - 2 * with_mean + square).clamp_min(0)
    if square <= (10 * torch.finfo(lengths.dtype).eps * float(lengths.max())) ** 2:
        return float("nan"), torch.full_like(distance, float("nan"))
    return float((weights.to(distance) * distance).sum() / square), (distance / square).sqrt()


def bases(stack: Stack, sizes: Tensor) -> Bases:
    """The leading `sizes` (K,) left and right singular directions of each product; fewer where its rank is lower."""
    Q_b, R_b = torch.linalg.qr(stack.B)
    Q_a, R_a = torch.linalg.qr(stack.A.transpose(1, 2))
    U, S, Vh = torch.linalg.svd(R_b @ R_a.transpose(1, 2))
    sizes = torch.minimum(sizes.to(S.device), (1e-7 * S[:, :1].clamp_min(1e-12) < S).sum(1))
    R = max(1, int(sizes.max()))
    keep = (torch.arange(R, device=S.device)[None, :] < sizes[:, None]).to(S)[:, None, :]
    return Bases((Q_b @ U)[:, :, :R] * keep, (Q_a @ Vh.transpose(1, 2))[:, :, :R] * keep, sizes)


def overlap(X: Tensor, Y: Tensor, sizes_x: Tensor | None = None, sizes_y: Tensor | None = None) -> Tensor:
    """phi = ||X^T Y||_F^2 / min(i, j) in 0..1 for orthonormal X (d, i) and Y (d, j) (Hu et al., 2022, sec. 7.2).

    For stacks X (K, d, R) and Y (L, d, R), of which the first `sizes` columns count and the rest is zero: all pairs, (K, L).
    """
    if X.ndim == 2:
        return (X.T @ Y).square().sum() / min(X.shape[1], Y.shape[1])
    sizes_x = torch.full((len(X),), X.shape[2]) if sizes_x is None else sizes_x
    sizes_y = torch.full((len(Y),), Y.shape[2]) if sizes_y is None else sizes_y
    square = torch.einsum("kdr,lds->klrs", X, Y).square().sum((2, 3))
    return square / torch.minimum(sizes_x[:, None], sizes_y[None, :]).to(square)


def chance_overlap(sizes_x: Tensor, sizes_y: Tensor, dimension: int) -> Tensor:
    """(K, L) expected phi of random subspaces: max(i, j) / d."""
    return torch.maximum(sizes_x[:, None], sizes_y[None, :]) / dimension


def principal_angles(X: Tensor, Y: Tensor) -> Tensor:
    """Principal angles in degrees, smallest first, between the column spaces of orthonormal X (..., d, i) and Y (..., d, j)."""
    return torch.linalg.svdvals(X.transpose(-1, -2) @ Y).clamp(0, 1).arccos().rad2deg()


def mean_angles(X: Tensor, Y: Tensor, sizes_x: Tensor, sizes_y: Tensor) -> Tensor:
    """(K, L) mean of the min(i, j) principal angles in degrees; NaN where a space is empty."""
    angles = principal_angles(X[:, None], Y[None, :])
    fewest = torch.minimum(sizes_x[:, None], sizes_y[None, :])
    counted = torch.arange(angles.shape[-1], device=angles.device) < fewest[..., None]
    return (angles * counted).sum(-1) / fewest


def effective_rank(singular_values: Tensor) -> float:
    """exp of the entropy of the singular values' shares (Roy and Vetterli, 2007); 0 for a zero matrix."""
    total = float(singular_values.sum())
    if total <= 0:
        return 0.0
    share = singular_values / total
    return float(torch.exp(-torch.xlogy(share, share).sum()))


def energy_share(singular_values: Tensor, rank: int) -> float:
    """rho_r = sum_{i <= r} sigma_i^2 / sum_i sigma_i^2 (raFLoRA); NaN for a zero matrix."""
    energy = singular_values.square()
    total = float(energy.sum())
    return float(energy[:rank].sum()) / total if total > 0 else float("nan")


def coverage(ranks: tuple[int, ...], weights: Tensor, slots: int) -> Tensor:
    """(slots,) c_i = sum of p_k over the clients that own slot i."""
    owned = torch.arange(slots)[None, :] < torch.tensor(ranks)[:, None]
    return (weights.cpu()[:, None] * owned).sum(0)


class AggregationError(NamedTuple):
    """Frobenius norms: what the rule lost before it cut the rank, what the cut lost, how far the server's own step went then,
    the whole distance, and the ideal's own."""

    averaging: float
    truncation: float
    step: float
    total: float
    ideal: float


def aggregation_error(aggregate: Aggregate, merged: Factors | None = None, kept: Aggregate | None = None) -> AggregationError:
    """How far the server's update lies from the ideal one; `merged` is what both have in common beneath.

    kept: what the server's own step made of the rule's `aggregate`, where it took one: the whole distance holds that step as
    well, the split is the rule's alone.
    """
    held, untruncated, ideal = aggregate.update_factors(), aggregate.uncut_update_factors(), aggregate.ideal
    in_the_end = held if kept is None else kept.update_factors()
    whole = ideal if merged is None else low_rank.add(ideal, merged)
    return AggregationError(
        averaging=low_rank.norm(low_rank.difference(untruncated, ideal)),
        truncation=low_rank.norm(low_rank.difference(held, untruncated)),
        step=0.0 if in_the_end is held else low_rank.norm(low_rank.difference(in_the_end, held)),
        total=low_rank.norm(low_rank.difference(in_the_end, ideal)),
        ideal=low_rank.norm(whole),
    )


def broadcast_error(aggregate: Aggregate, rank: int, offset: Factors | None, merged: Factors | None = None) -> float:
    """||W_k - W||_F / ||G||_F for a client of `rank` that receives its share of the aggregate."""
    if aggregate.merge:
        return 0.0
    own = aggregate.client_update_factors(rank, offset)
    held = aggregate.update_factors()
    whole = held if merged is None else low_rank.add(held, merged)
    return relative(low_rank.norm(low_rank.difference(own, held)), low_rank.norm(whole))

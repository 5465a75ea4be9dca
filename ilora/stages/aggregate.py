"""Stage 7: how do many updates become one, and what does a client of rank r get back?

A rule maps one layer's Upload to an Aggregate. It never sees a model. Three families: averages of slots, exact sums that are
factorised anew, and exact sums that go into the base.
"""

import torch
from torch import Tensor

from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate, Upload, learned_terms, weighted_update
from ilora.lora.factors import Factors, Stack

# --- averages of slots -------------------------------------------------------------------------------------------------


def slot_average(stacked: Tensor, share: Tensor, slot_dim: int) -> Tensor:
    """sum_k share_kj X_k[j] for every slot j: stacked (C, ...), share (C, R), slots along `slot_dim` of one client's tensor.

    The rules that average factors differ in nothing but the share.
    """
    shape = [len(share), 1, 1]
    shape[1 + slot_dim] = share.shape[1]
    return (share.view(shape) * stacked).sum(0)


def mean(upload: Upload) -> Aggregate:
    """A = sum_k p_k pad(A_k), B = sum_k p_k pad(B_k) (FedIT, arXiv:2305.05644, zero-padded for mixed ranks).

    Its product misses the ideal update by sum_k p_k (B_k - B)(A_k - A). A factor that nobody sends stays the server's; a slot
    that a client has but does not send counts as it was received. Where the start was cut out of the base, changes are
    averaged: zeros would dilute a product that the base lacks (ours).
    """
    if upload.offset is not None:
        return mean_of_changes(upload)
    share, (send_A, send_B) = upload.weights[:, None] * upload.sent.mask, upload.sent_slots()
    A = slot_average(upload.sent.A, share, 0) if send_A.any() else upload.own().A
    B = slot_average(upload.sent.B, share, 1) if send_B.any() else upload.own().B
    return raw_aggregate(upload, Factors(A, B))


def mean_of_changes(upload: Upload) -> Aggregate:
    """A <- A + sum_k p_k (A_k' - A_k) over the slots that were sent, B alike (FedOpt, arXiv:2003.00295; FSLoRA).

    Exact where one factor is common and every client holds all slots (LoRA-A2, arXiv:2410.22815); zero where nobody moved.
    """
    if upload.server is None:
        return mean(upload)
    p, (send_A, send_B), own = upload.weights[:, None], upload.sent_slots(), upload.own()
    A = own.A + slot_average(upload.sent.A - upload.start.A, p * send_A, 0)
    B = own.B + slot_average(upload.sent.B - upload.start.B, p * send_B, 1)
    return raw_aggregate(upload, Factors(A, B))


def owners_mean(upload: Upload) -> Aggregate:
    """Slot j is averaged over the clients that send it, and stays the server's where nobody does.

    HAFLQ (arXiv:2411.06581), RBLA and replication padding (arXiv:2406.17477) for two groups of ranks: copying the owners'
    average into the missing slots before averaging is averaging over the owners.
    """
    p, (send_A, send_B) = upload.weights[:, None], upload.sent_slots()
    A = owners_average(upload.sent.A, p * send_A, upload.own().A, 0)
    B = owners_average(upload.sent.B, p * send_B, upload.own().B, 1)
    return raw_aggregate(upload, Factors(A, B))


def owners_average(stacked: Tensor, share: Tensor, own: Tensor, slot_dim: int) -> Tensor:
    """The average over those with a share in a slot; the server's `own` slot where nobody has one."""
    total = share.sum(0)
    average = slot_average(stacked, share / total.clamp_min(1e-12), slot_dim)
    kept = total > 0
    return torch.where(kept[:, None] if slot_dim == 0 else kept[None, :], average, own)


def raw_aggregate(upload: Upload, factors: Factors) -> Aggregate:
    """An aggregate that holds raw factors, the scaling outside."""
    return Aggregate(factors.pad(upload.rank), upload.ideal, upload.scaling, upload.rank, offset=upload.server_offset)


def corrected_mean(upload: Upload, form: str = "closed", penalty: float = 0.01) -> Aggregate:
    """Mean A, and the mean B moved by dB towards the exact sum dW (LoRA-FAIR, arXiv:2411.14961).

    "closed": dB = (dW - B A) A^T (A A^T + penalty I)^-1, the least-squares form; "iterative": 200 gradient steps of 0.1 on
    1 - cos(dW, (B + dB) A) + penalty ||dB||^2.
    """
    averaged, s = mean(upload), upload.scaling(upload.rank)
    A, B = averaged.server_factors
    gap = low_rank.difference(upload.learned(), averaged.update_factors()).times(1 / s)
    if form == "closed":
        gram = A @ A.T + penalty * torch.eye(len(A)).to(A)
        return raw_aggregate(upload, Factors(A, B + torch.linalg.solve(gram, A @ gap.A.T @ gap.B.T).T))
    dB, exact = torch.zeros_like(B), low_rank.add(gap, Factors(A, B))
    for _ in range(200):
        dB = dB - 0.1 * (2 * penalty * dB - cosine_slope(exact, Factors(A, B + dB)))
    return raw_aggregate(upload, Factors(A, B + dB))


def cosine_slope(X: Factors, Y: Factors) -> Tensor:
    """The gradient of cos(X, Y) with respect to Y's B; zero where one of the two is zero and has no direction."""
    length, size = low_rank.inner(X, X).sqrt(), low_rank.inner(Y, Y).sqrt()
    if not length * size > 0:
        return torch.zeros_like(Y.B)
    return X.B @ (X.A @ Y.A.T) / (length * size) - low_rank.inner(X, Y) / (length * size**3) * Y.B @ (Y.A @ Y.A.T)


# --- exact sums, factorised anew ---------------------------------------------------------------------------------------


def truncated_svd(upload: Upload, deltas: bool = True, split: str = "B") -> Aggregate:
    """sum_k p_k s_k B_k A_k = U S V^T, of which a client holds the first r terms.

    split "B": B = U S / s, A = V^T (FlexLoRA, arXiv:2402.11505); "A": B = U, A = S V^T / s (HLoRA, arXiv:2503.00813).
    """
    return svd_aggregate(upload, summed(upload, deltas), split, deltas)


def svd_aggregate(upload: Upload, update: Factors, split: str = "B", deltas: bool = True) -> Aggregate:
    """The update's singular directions as factors, the strongest first; S stands on A, on B, or its root on "both"."""
    U, S, V = low_rank.svd(update, upload.rank)
    one, root = torch.ones_like(S), S.sqrt()
    on_A, on_B = {"A": (S, one), "B": (one, S), "both": (root, root)}[split]
    return factorised(upload, Factors(on_A[:, None] * V.T, U * on_B), "A" if split == "A" else "B", deltas)


def concatenated_qr(upload: Upload, deltas: bool = True) -> Aggregate:
    """[B_1 ... B_K] [p_1 A_1; ...; p_K A_K] = Q R; B = Q[:, :r], A = R[:r] (ILoRA, arXiv:2511.16069)."""
    return factorised(upload, low_rank.qr(summed(upload, deltas), upload.rank), "A", deltas)


def concatenated_pivoted_qr(upload: Upload, deltas: bool = True) -> Aggregate:
    """As `concatenated_qr`, the columns that carry most first (ours: the cut no longer depends on the order of inputs)."""
    return factorised(upload, low_rank.pivoted_qr(summed(upload, deltas), upload.rank), "A", deltas)


def rank_partitions(upload: Upload, split: str = "B") -> Aggregate:
    """dW = sum_h dW_h = U S V^T, dW_h the mean over the clients that own partition h (raFLoRA, arXiv:2602.13486, eq. 8).

    Partitions lie between the distinct ranks of all clients. One that nobody in the round owns stays the server's (ours).
    split "B": B = U S / s, A = V^T (ours); "both": B = U sqrt(S) / s, A = sqrt(S) V^T, as in the source.
    """
    clients = learned_terms(upload.sent, upload.scaling, upload.offset)
    cut_out = None if upload.server_offset is None else Stack.of([upload.server_offset])
    server = learned_terms(Stack.of([upload.own()]), upload.scaling, cut_out)
    parts, low = [], 0
    for high in upload.levels:
        owns = upload.weights * upload.weights.new_tensor([rank >= high for rank in upload.sent.ranks])
        terms, share = (clients, owns / owns.sum()) if owns.sum() > 0 else (server, owns.new_ones(1))
        parts += [band(term, low, high).concatenate(share) for term in terms]
        low = high
    return svd_aggregate(upload, low_rank.add(*parts), split)


def band(stacked: Stack, low: int, high: int) -> Stack:
    """Slots `low` to `high` of every client."""
    return Stack(stacked.A[:, low:high], stacked.B[:, :, low:high], (high - low,) * len(stacked))


def full_rank_deltas(upload: Upload) -> Aggregate:
    """G <- G + sum_k p_k s_k (B_k A_k - B_k^0 A_k^0); the server keeps every direction (FedHL, arXiv:2505.18494)."""
    change = low_rank.difference(
        weighted_update(upload.sent, upload.weights, upload.scaling, None),
        weighted_update(upload.start, upload.weights, upload.scaling, None),
    )
    whole = change if upload.server_update is None else low_rank.add(upload.server_update, change)
    cut = svd_aggregate(upload, whole)
    return Aggregate(cut.server_factors, cut.ideal, cut.scaling, cut.server_factors.rank, cut.scaled_factor)


def summed(upload: Upload, deltas: bool) -> Factors:
    """The exact sum: of what was learned (`deltas`), or of the raw factors with the initial product still in them."""
    return upload.learned() if deltas else upload.stacked()


def factorised(upload: Upload, factors: Factors, scaled_factor: str, deltas: bool) -> Aggregate:
    """An aggregate of the effective update's factors or, without `deltas`, of raw ones over a base with the product cut out."""
    if deltas:
        return Aggregate(factors, upload.ideal, upload.scaling, upload.rank, scaled_factor)
    return Aggregate(factors, upload.ideal, upload.scaling, upload.rank, offset=upload.server_offset)


# --- exact sums into the base ------------------------------------------------------------------------------------------


def stack(upload: Upload) -> Aggregate:
    """A_c = [p_k s_k A_k], B_c = [B_k], merged into everyone's base (FLoRA, arXiv:2409.05976, eq. 5)."""
    return Aggregate(upload.learned(), upload.ideal, upload.scaling, upload.rank, scaled_factor="A", merge=True)


def thresholded_stack(upload: Upload, energy: float = 0.99) -> Aggregate:
    """The stack through an SVD, cut where `energy` of it is kept, the same for all, merged (FLoRIST, arXiv:2506.09199)."""
    U, S, V = low_rank.svd(upload.learned())
    kept = S.square().cumsum(0) < energy * S.square().sum()
    p = min(int(kept.sum()) + 1, len(S))
    factors = Factors(V.T[:p], U[:, :p] * S[:p])
    return Aggregate(factors, upload.ideal, upload.scaling, upload.rank, scaled_factor="B", merge=True)


def mean_and_residual(upload: Upload) -> Aggregate:
    """Mean A and B, and what they miss, dW - B A, merged into everyone's base (FedEx-LoRA, arXiv:2410.09432, eq. 8)."""
    averaged = mean(upload)
    residual = low_rank.difference(upload.learned(), averaged.update_factors())
    return Aggregate(
        averaged.server_factors, upload.ideal, upload.scaling, upload.rank, offset=averaged.offset, residual=residual
    )

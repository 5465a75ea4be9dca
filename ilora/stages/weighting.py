"""Stage 6: how much does a client count? An ingredient maps the turn to weights p (C,) that sum to 1."""

import torch
from torch import Tensor

from ilora import diagnostics
from ilora.lora import low_rank
from ilora.lora.aggregation import weighted_update
from ilora.stages.context import Turn


def samples(turn: Turn) -> Tensor:
    """p_k = n_k / sum n (FedAvg)."""
    return turn.counts / turn.counts.sum()


def update_norm(turn: Turn) -> Tensor:
    """p_k = S_k / sum S with S_k = ||Delta W_k||_F over all layers (HetLoRA, arXiv:2401.06432, sparsity-weighted aggregation)."""
    squares = torch.zeros_like(turn.counts)
    for layer in turn.layers:
        squares += diagnostics.norms(turn.stack(turn.result, layer)).square() * turn.base.scales.square()
    size = squares.sqrt()
    return size / size.sum() if size.sum() > 0 else samples(turn)


def rank_aware(turn: Turn) -> Tensor:
    """p_k = n_k r_k / sum n r (AFLoRA, arXiv:2505.24773; the form is ours)."""
    share = turn.counts * turn.budget
    return share / share.sum()


def uniform(turn: Turn) -> Tensor:
    """p_k = 1/C."""
    return torch.full_like(turn.counts, 1 / len(turn.ids))


def inverse_truncation(turn: Turn, floor: float = 0.1) -> Tensor:
    """p_k ~ 1 / (e_k + floor), e_k = ||W_t - W_{t,k}||_F^2 / ||G_t||_F^2 what rank r_k could not hold of the server's model.

    Our reading of FedHL (arXiv:2505.18494), which chooses p to shrink a bound on the drift that truncation causes. The same
    for all while the server holds nothing; who holds everything counts at most 1 / floor.
    """
    errors, size = torch.zeros(len(turn.ids)), 0.0
    for layer in turn.layers:
        start, offset = turn.stack(turn.start, layer), turn.base.offsets.get(layer)
        held = turn.server_update(layer)
        size += low_rank.norm(held) ** 2
        for k in range(len(turn.ids)):
            own = weighted_update(start, torch.eye(len(start))[k], turn.setting.scaling, offset)
            errors[k] += low_rank.norm(low_rank.difference(held, own)) ** 2
    p = 1 / (errors.to(turn.counts) / max(size, 1e-12) + floor)
    return p / p.sum()

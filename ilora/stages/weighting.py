"""Stage 6: how much does a client count? An ingredient maps the turn to weights p (C,) that sum to 1."""

import torch
from torch import Tensor

from ilora import diagnostics
from ilora.turn import Turn


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

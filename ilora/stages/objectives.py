"""Stage 3: what does a client minimise? An ingredient maps a local step to one loss per client, (K,).

A class may have `begin(turn)`: the stacks that it returns come back, cut to the clients at hand, as `step.given`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora.lora.factors import slot_mask
from ilora.training.client_model import Parameters
from ilora.training.local_work import Step
from ilora.training.losses import sample_losses


def cross_entropy(step: Step) -> Tensor:
    """F_k = the mean loss of each client's batch: cross-entropy, or squared error where labels are numbers."""
    return per_sample(step).mean(1)


def per_sample(step: Step) -> Tensor:
    """The loss of every sample, (K, b)."""
    return sample_losses(step.logits, step.labels)


def tail_penalty(step: Step, gamma: float = 0.99, tail_weight: float = 0.01, least_rank: int = 4) -> Tensor:
    """F_k + tail_weight sum over layers ||B[:, t:]|| ||A[t:, :]||, t = floor(gamma r_k) (HetLoRA, arXiv:2401.06432)."""
    return cross_entropy(step) + tail_weight * tail_size(step.parameters, step.base.ranks, gamma, least_rank)


def tail_size(parameters: Parameters, ranks: Sequence[int], gamma: float, least_rank: int) -> Tensor:
    """(K,) the sum over layers of ||B[:, t:]||_F ||A[t:, :]||_F; 0 for a client whose rank may shrink no further."""
    sizes = []
    for name, A in parameters.items():
        if name.endswith(".A"):
            B = parameters[f"{name[:-2]}.B"]
            kept = slot_mask([shorter(rank, gamma, least_rank) for rank in ranks], A.shape[1]).to(A.device)
            sizes.append((B * ~kept[:, None, :]).norm(dim=(1, 2)) * (A * ~kept[:, :, None]).norm(dim=(1, 2)))
    return torch.stack(sizes).sum(0)


def shorter(rank: int, gamma: float, least_rank: int) -> int:
    """max(least_rank, floor(gamma r)), or r itself where it is no larger than that."""
    return min(rank, max(least_rank, int(gamma * rank)))

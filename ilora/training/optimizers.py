"""The clients' optimizer: made anew each round, corrected and masked before a step, moved once more after it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora.training.client_model import Parameters
from ilora.training.local_work import LocalWork

MOMENTUM = 0.9  # of SGD


def make_optimizer(kind: str, parameters: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
    """AdamW without weight decay, or SGD with momentum 0.9; new each round, as every paper here does it. Fused on CUDA."""
    fused = True if parameters[0].is_cuda else None
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0, fused=fused)
    return torch.optim.SGD(parameters, lr=lr, momentum=MOMENTUM, fused=fused)


def fewer_clients(
    optimizer: torch.optim.Optimizer, parameters: Parameters, work: LocalWork
) -> tuple[Parameters, torch.optim.Optimizer]:
    """The first clients' parameters and optimizer, as many as `work` is for; the others have taken all their steps."""
    count = len(work.batches)
    left = {name: tensor.detach()[:count].clone().requires_grad_() for name, tensor in parameters.items()}
    smaller = make_optimizer(work.optimizer, list(left.values()), work.lr)
    for name, tensor in parameters.items():
        kept = optimizer.state[tensor]
        smaller.state[left[name]] = {key: value[:count].clone() if value.ndim else value for key, value in kept.items()}
    return left, smaller


def start_moments(optimizer: torch.optim.Optimizer, own: Parameters, work: LocalWork, client: int | slice) -> None:
    """Let AdamW start from the work's moments, cut to the shapes of `own`; a first moment that is not given is zero."""
    if work.second_moments is not None:
        for name, tensor in own.items():
            m = torch.zeros_like(tensor) if work.first_moments is None else work.first_moments[name][client]
            m, v = (cut(moment, tensor.shape).clone() for moment in (m, work.second_moments[name][client]))
            steps = torch.tensor(float(work.steps_before), device=tensor.device if tensor.is_cuda else "cpu")
            optimizer.state[tensor] = {"step": steps, "exp_avg": m, "exp_avg_sq": v}


def end_moments(optimizer: torch.optim.Optimizer, own: Parameters, work: LocalWork) -> tuple[Parameters, Parameters]:
    """AdamW's m and v after the last step, where it started from a v; nothing otherwise."""
    asked = own if work.second_moments is not None else {}
    m, v = ({name: optimizer.state[own[name]][key] for name in asked} for key in ("exp_avg", "exp_avg_sq"))
    return m, v


def adjust_gradient(tensor: Tensor, name: str, work: LocalWork) -> None:
    """Add the correction and keep still what may not move."""
    if tensor.grad is None:
        tensor.grad = torch.zeros_like(tensor)
    if work.correction is not None:
        tensor.grad += work.correction[name]
    if work.trainable is not None:
        tensor.grad *= work.trainable[name]


@torch.no_grad()
def add_after_step(own: Parameters, work: LocalWork, client: int | slice) -> None:
    """Move the parameters once more by what the work adds after every step."""
    if work.after_step is not None:
        for name, tensor in own.items():
            tensor += cut(work.after_step[name][client], tensor.shape)


def cut(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The leading corner of `tensor` of the given shape, as a view."""
    return tensor[tuple(slice(size) for size in shape)]

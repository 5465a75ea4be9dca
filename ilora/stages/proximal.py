"""Distances from the received model, in one of two spaces; FedProx, FedDyn, FedVRA and RI-FedAvg pull on clients with them.

"product": how far the updates s_k B_k A_k moved, whatever the ranks and whatever the server did to the slots. "factor": how far
the numbers in A and B moved. Two different algorithms. The head has no product, so it always counts number by number.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ilora import diagnostics
from ilora.lora.factors import Stack
from ilora.stages.objectives import cross_entropy
from ilora.training.client_model import Base, Parameters, layer_stack, layers_of
from ilora.training.local_work import Step

Movement = dict[str, Stack | Tensor]  # a layer's product as a stack, or one parameter's change (K, ...)


def movement(start: Parameters, now: Parameters, base: Base, space: str, dtype: torch.dtype = torch.float32) -> Movement:
    """What K clients moved: in product space D_k = s_k (B_k A_k - B_k^0 A_k^0), in factor space A_k - A_k^0 and B_k - B_k^0."""
    change = {n: (now[n] - start[n]).to(dtype) for n in start if space == "factor" or n.startswith("head.")}
    if space == "factor":
        return {**change}
    r, s = base.ranks, base.scales
    moved = {n: diagnostics.movements(layer_stack(start, n, r), layer_stack(now, n, r), s, dtype) for n in layers_of(start)}
    return {**moved, **change}


def inner(X: Mapping[str, Stack | Tensor], Y: Mapping[str, Stack | Tensor]) -> Tensor:
    """(K,) sum of all inner products; those of stacks by the Gram identity <BA, B'A'> = tr(B^T B' A' A^T)."""
    total = []
    for name, x in X.items():
        y = Y[name]
        if isinstance(x, Stack) and isinstance(y, Stack):
            total.append(((x.B.transpose(1, 2) @ y.B) * (x.A @ y.A.transpose(1, 2))).sum((1, 2)))
        elif isinstance(x, Tensor) and isinstance(y, Tensor):
            total.append((x * y).flatten(1).sum(1))
    return torch.stack(total).sum(0)


def proximal(step: Step, mu: float = 0.01, space: str = "product") -> Tensor:
    """F_k + mu/2 ||theta - theta_t||^2 (FedProx, arXiv:1812.06127)."""
    moved = movement(step.start, step.parameters, step.base, space)
    return cross_entropy(step) + mu / 2 * inner(moved, moved)

"""Stage 3: what does a client minimise? An ingredient maps a local step to one loss per client, (K,).

The stacks that a `Stage` returns from `begin` come back, cut to the clients at hand, as `step.given`.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ilora import diagnostics
from ilora.lora.factors import Stack, slot_mask
from ilora.stages.context import ClientView, RunSetting
from ilora.stages.stage import Stage
from ilora.training.client_model import Base, Parameters, layer_stack, layers_of
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


# --- distances from the received model ---------------------------------------------------------------------------------

# "product": how far the updates s_k B_k A_k moved, whatever the ranks and whatever the server did to the slots. "factor": how
# far the numbers in A and B moved. Two different algorithms. The head has no product, so it always counts number by number.
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


# --- contrast between models -------------------------------------------------------------------------------------------


def contrastive(z: Tensor, z_global: Tensor, z_previous: Tensor, temperature: float) -> Tensor:
    """-log e^{cos(z, z_glob)/T} / (e^{cos(z, z_glob)/T} + e^{cos(z, z_prev)/T}) for features (..., d)."""
    near, far = (functional.cosine_similarity(z, other, dim=-1) for other in (z_global, z_previous))
    return functional.softplus((far - near) / temperature)


class Contrast(Stage):
    """F_k + mu l_con (MOON, arXiv:2103.16257, the authors' code), on the features that the head sees.

    A client that never trained has the received model for its last one: no pull. A client remembers "previous/<name>", its
    last model, and "seen", whether it has one.
    """

    client_memory = ("",)
    extra_forwards = 2

    def __init__(self, setting: RunSetting, contrast: float = 1.0, temperature: float = 0.5) -> None:
        self.device, self.contrast, self.temperature = setting.device, contrast, temperature

    def remember(self, ids: Sequence[int]) -> Parameters:
        """Nobody has trained yet."""
        return {"seen": torch.zeros(len(ids), device=self.device)}

    def begin(self, view: ClientView) -> Parameters:
        """Each client's last local model."""
        memory, given = self.remembered(view), {}
        for name, start in view.start.items():
            seen = memory["seen"].bool().view(-1, *[1] * (start.ndim - 1))
            given[name] = torch.where(seen, memory.get(f"previous/{name}", start), start)
        return given

    def __call__(self, step: Step) -> Tensor:
        """Cross-entropy and contrast of each client (K,)."""
        with torch.no_grad():
            z_global, z_previous = (step.forward(own, step.base, step.inputs).features for own in (step.start, step.given))
        contrast = contrastive(step.output.features, z_global, z_previous, self.temperature)
        return cross_entropy(step) + self.contrast * contrast.mean(1)

    def end(self, view: ClientView) -> Parameters:
        """Keep what the clients trained."""
        memory = self.remembered(view)
        memory |= {f"previous/{name}": trained for name, trained in view.result.items()}
        memory["seen"] = torch.ones_like(memory["seen"])
        return {}

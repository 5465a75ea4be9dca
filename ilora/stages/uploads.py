"""Stage 5: what happens to the factors before they leave? An ingredient maps the clients' view to what is sent."""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

from ilora.lora.factors import slot_mask
from ilora.stages.context import ClientView, RunSetting, Slots, slots_of
from ilora.stages.objectives import shorter, tail_size
from ilora.stages.sharing import slot_norms
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters


def as_is(view: ClientView) -> Parameters:
    """Send what was trained."""
    return view.result


def rotate(view: ClientView, soft: float = 0.5) -> Parameters:
    """Turn every client's slots towards the factors it received; its product stays the same (FedRot-LoRA, arXiv:2602.23638).

    A is aligned in even rounds, B in odd ones, none in the first. `soft` = 1 is the full rotation, 0 none.
    """
    sent = dict(view.result)
    for layer in view.layers if view.index > 1 else ():
        A, B = sent[f"{layer}.A"].clone(), sent[f"{layer}.B"].clone()
        for k, r in enumerate(view.ranks):
            if view.index % 2 == 0:
                M = A[k, :r] @ view.start[f"{layer}.A"][k, :r].T
            else:
                M = B[k, :, :r].T @ view.start[f"{layer}.B"][k, :, :r]
            R = rotation(M, soft)
            A[k, :r], B[k, :, :r] = R.T @ A[k, :r], B[k, :, :r] @ R
        sent[f"{layer}.A"], sent[f"{layer}.B"] = A, B
    return sent


def rotation(M: Tensor, soft: float) -> Tensor:
    """The rotation R = U V^T of M = U S V^T (r, r), without reflection, `soft` of the way from the identity to it."""
    U, _, Vh = torch.linalg.svd(M)
    if torch.det(U @ Vh) < 0:
        U = torch.cat([U[:, :-1], -U[:, -1:]], 1)
    U, _, Vh = torch.linalg.svd((1 - soft) * torch.eye(len(M)).to(M) + soft * U @ Vh)
    return U @ Vh


def without_scales(view: ClientView) -> Parameters:
    """Send the slots themselves, without the sketch's scale on them (FSLoRA, arXiv:2501.19389)."""
    return {name: tensor for name, tensor in view.result.items() if not name.endswith(".D")}


def prune_tail(view: ClientView, gamma: float = 0.99, least_rank: int = 4) -> Parameters:
    """Drop the last slots of a client where training made them smaller than it received them (HetLoRA, arXiv:2401.06432)."""
    before, after = (tail_size(p, view.ranks, gamma, least_rank) for p in (view.start, view.result))
    shrunk = (after < before).tolist()
    return cut_ranks(view, [shorter(r, gamma, least_rank) if less else r for r, less in zip(view.ranks, shrunk, strict=True)])


def prune_weak(view: ClientView, threshold: float = 0.1) -> Parameters:
    """Drop the last slots of a client while they are weak in every layer (AFLoRA, arXiv:2505.24773).

    A slot's strength is |lambda_i| ||b_i|| ||a_i||; weak is less than `threshold` of the layer's strongest. One slot is left.
    """
    strong = torch.zeros_like(view.owned)
    for layer in view.layers:
        stack = view.stack(view.result, layer)
        strength = slot_norms(stack.A, "A") * slot_norms(stack.B, "B")
        strong |= view.owned & (strength >= threshold * strength.amax(1, keepdim=True))
    last = torch.arange(1, strong.shape[1] + 1).to(strong.device)
    return cut_ranks(view, (strong * last).amax(1).clamp_min(1).tolist())


def cut_ranks(view: ClientView, ranks: Sequence[int]) -> Parameters:
    """Send the first `ranks` slots of each client, which it is left with from the next round on."""
    kept = slot_mask(ranks, view.setting.rank).to(view.setting.device)
    shared = view.shared

    def fewer(slots: Slots) -> Slots:
        return {layer: slots_of(slots, layer) & kept for layer in view.layers}

    scales = None if shared.scales is None else fewer(shared.scales)
    send_A, send_B = fewer(shared.send_A), fewer(shared.send_B)
    view.work.shared = shared._replace(send_A=send_A, send_B=send_B, scales=scales, kept=tuple(ranks))
    mask = view.spread(view.start, kept, kept)
    return {name: tensor * mask[name] for name, tensor in view.result.items()}


class Quantise(Stage):
    """Send changes in few bits: each row of A and column of B as whole numbers of its own step (HAFLQ, arXiv:2411.06581)."""

    def __init__(self, setting: RunSetting, bits: int = 8) -> None:
        self.bits = bits

    def __call__(self, view: ClientView) -> Parameters:
        """What was received plus the change as it arrives; heads travel in full."""
        return {name: self._arrived(name, view.start[name], after) for name, after in view.result.items()}

    def _arrived(self, name: str, before: Tensor, after: Tensor) -> Tensor:
        """One stack after its way through few bits."""
        if name.endswith(".B"):
            return before + quantised((after - before).transpose(1, 2), self.bits).transpose(1, 2)
        return before + quantised(after - before, self.bits) if name.endswith((".A", ".D")) else after

    def packed(self, numbers: int, vectors: int) -> int:
        """Bytes of `numbers` in `vectors`: bits for each number, and each vector's step in float32."""
        return ceil(numbers * self.bits / 8) + 4 * vectors


def quantised(x: Tensor, bits: int) -> Tensor:
    """x (..., n) as whole multiples of max|x| / (2^(bits-1) - 1) along the last dimension: off by half a step at most."""
    step = x.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
    return torch.round(x / step.clamp_min(torch.finfo(x.dtype).tiny)) * step

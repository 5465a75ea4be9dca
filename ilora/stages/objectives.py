"""Stage 3: what does a client minimise? An ingredient maps logits (K, b, C) and labels (K, b) to one loss per client (K,)."""

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of each client's batch."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(1)

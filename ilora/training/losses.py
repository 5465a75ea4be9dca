"""What a wrong answer costs: the one place that knows whether a task's labels are classes or numbers."""

from torch import Tensor
from torch.nn import functional


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of every sample, logits (..., C) and labels (...) -> (...).

    Cross-entropy where labels are classes (whole numbers), squared error of the one output where they are numbers (floats).
    """
    if labels.is_floating_point():
        return (logits.squeeze(-1) - labels).square()
    losses = functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return losses.view(labels.shape)

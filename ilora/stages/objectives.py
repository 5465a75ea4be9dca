"""Stage 3: what does a client minimise? An ingredient maps a local step to one loss per client, (K,).

A class may have `begin(turn)`: the stacks that it returns come back, cut to the clients at hand, as `step.given`.
"""

from torch import Tensor
from torch.nn import functional

from ilora.training import Step


def cross_entropy(step: Step) -> Tensor:
    """F_k = the mean cross-entropy of each client's batch."""
    return per_sample(step).mean(1)


def per_sample(step: Step) -> Tensor:
    """The cross-entropy of every sample, (K, b)."""
    losses = functional.cross_entropy(step.logits.flatten(0, 1), step.labels.flatten(), reduction="none")
    return losses.view(step.labels.shape)

"""How good the server's model is, and each client's after its local training."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ilora.stacked import Base, Parameters, slice_clients
from ilora.tasks.base import Data

if TYPE_CHECKING:
    from ilora.engines import Engine

MOST_CLIENT_ROWS = 8_000  # clients x test samples that are evaluated in a round; with many clients each sees fewer samples


class ClientScores(NamedTuple):
    """Per client (K,): accuracy and loss on the test set, and on what it would meet itself.

    The last is accuracy with the test set re-weighted to its own class shares, or, under attribute skew, in its own style.
    """

    accuracy: Tensor
    loss: Tensor
    personal_accuracy: Tensor


def score_server(engine: "Engine", parameters: Parameters, base: Base, test: Data) -> tuple[float, float]:
    """Accuracy (0..1) and mean cross-entropy of one model on the test set."""
    logits = engine.logits(parameters, base, test)[0]
    loss = torch.nn.functional.cross_entropy(logits, test.labels)
    return float((logits.argmax(1) == test.labels).float().mean()), float(loss)


def score_clients(engine: "Engine", parameters: Parameters, base: Base, test: Data, class_counts: Tensor) -> ClientScores:
    """Score every client's trained model on the first test samples, MOST_CLIENT_ROWS over all clients; counts (K, classes)."""
    some = first_samples(test, len(class_counts))
    logits = engine.logits(parameters, base, some)
    right = (logits.argmax(2) == some.labels).float()
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), some.labels.repeat(len(logits)), reduction="none")
    return ClientScores(right.mean(1), losses.view(right.shape).mean(1), reweighted(right, some.labels, class_counts))


def score_in_styles(
    engine: "Engine", parameters: Parameters, base: Base, tests: Mapping[str, Data], worn: Sequence[str]
) -> Tensor:
    """(K,) accuracy of every client's model on the first test samples in the style `worn` by the client; tests by style."""
    accuracy = torch.zeros(len(worn), device=base.scales.device)
    for style, test in tests.items():
        group, some = [k for k, own in enumerate(worn) if own == style], first_samples(test, len(worn))
        logits = engine.logits(slice_clients(parameters, group), base[group], some)
        accuracy[group] = (logits.argmax(2) == some.labels).float().mean(1)
    return accuracy


def first_samples(test: Data, clients: int) -> Data:
    """As many of the first test samples as each of so many clients is evaluated on."""
    count = min(len(test), max(40, MOST_CLIENT_ROWS // clients))
    return replace(test, inputs={name: tensor[:count] for name, tensor in test.inputs.items()}, labels=test.labels[:count])


def reweighted(right: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """(K,) accuracy where class c counts as in the client's own data; right (K, n), labels (n,), class_counts (K, classes)."""
    member = torch.nn.functional.one_hot(labels, class_counts.shape[1]).float()
    per_class = (right @ member) / member.sum(0).clamp_min(1)
    weight = class_counts.float() * (member.sum(0) > 0)
    return (per_class * weight).sum(1) / weight.sum(1).clamp_min(1)

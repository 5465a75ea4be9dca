"""How good the server's model is, and each client's after its local training, by the task's own scores."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ilora.losses import sample_losses
from ilora.metrics import METRICS
from ilora.stacked import Base, Parameters, slice_clients
from ilora.tasks.base import Data
from ilora.tasks.catalogue import TaskCard

if TYPE_CHECKING:
    from ilora.engines import Engine

MOST_CLIENT_ROWS = 8_000  # clients x test samples that are evaluated in a round; with many clients each sees fewer samples


class ServerScores(NamedTuple):
    """The main score and the loss on the test set, and all scores by name."""

    accuracy: float
    loss: float
    scores: dict[str, float]


class ClientScores(NamedTuple):
    """Per client (K,): main score and loss on the test set, and on what it would meet itself.

    The last is the score with the test set re-weighted to its own labels, or, under attribute skew, in its own style.
    """

    accuracy: Tensor
    loss: Tensor
    personal_accuracy: Tensor


def answers_of(logits: Tensor, labels: Tensor) -> Tensor:
    """(..., C) -> (...): the class with the largest logit, or the one output where labels are numbers."""
    return logits.squeeze(-1) if labels.is_floating_point() else logits.argmax(-1)


def score(metric: str, answers: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """One score of answers (n,) against labels (n,), each sample counting as its weight."""
    return METRICS[metric](answers.cpu().numpy(), labels.cpu().numpy(), None if weights is None else weights.cpu().numpy())


def score_server(
    engine: "Engine", parameters: Parameters, base: Base, card: TaskCard, test: Data, more_tests: Mapping[str, Data]
) -> ServerScores:
    """All scores of one model: those of the card on the test set, its main one on each further test set."""
    logits = engine.logits(parameters, base, test)[0]
    found = {name: score(name, answers_of(logits, test.labels), test.labels) for name in card.metrics}
    for name, data in more_tests.items():
        answers = answers_of(engine.logits(parameters, base, data)[0], data.labels)
        found[f"{card.metric} {name}"] = score(card.metric, answers, data.labels)
    return ServerScores(found[card.metric], float(sample_losses(logits, test.labels).mean()), found)


def score_clients(
    engine: "Engine", parameters: Parameters, base: Base, metric: str, test: Data, groups: Tensor, holdings: Tensor
) -> ClientScores:
    """Score every client's trained model on the first test samples, MOST_CLIENT_ROWS over all clients.

    groups (n,): the class, or bin of the label, of every test sample; holdings (K, groups): what each client has of them.
    """
    some = first_samples(test, len(holdings))
    logits = engine.logits(parameters, base, some)
    answers = answers_of(logits, some.labels)
    losses = sample_losses(logits, some.labels.expand(len(logits), -1))
    weights = own_mixture(groups[: len(some)], holdings)
    common = [score(metric, mine, some.labels) for mine in answers]
    own = [score(metric, mine, some.labels, weight) for mine, weight in zip(answers, weights, strict=True)]
    return ClientScores(losses.new_tensor(common), losses.mean(1), losses.new_tensor(own))


def score_in_styles(
    engine: "Engine", parameters: Parameters, base: Base, metric: str, tests: Mapping[str, Data], worn: Sequence[str]
) -> Tensor:
    """(K,) main score of every client's model on the first test samples in the style `worn` by the client; tests by style."""
    found = torch.zeros(len(worn), device=base.scales.device)
    for style, test in tests.items():
        group, some = [k for k, own in enumerate(worn) if own == style], first_samples(test, len(worn))
        answers = answers_of(engine.logits(slice_clients(parameters, group), base[group], some), some.labels)
        found[group] = found.new_tensor([score(metric, mine, some.labels) for mine in answers])
    return found


def first_samples(test: Data, clients: int) -> Data:
    """As many of the first test samples as each of so many clients is evaluated on."""
    return test[: min(len(test), max(40, MOST_CLIENT_ROWS // clients))]


def own_mixture(groups: Tensor, holdings: Tensor) -> Tensor:
    """(K, n) weights under which a test set (n,) has each client's own share of every group; all 1 where it has none of them."""
    member = torch.nn.functional.one_hot(groups, holdings.shape[1]).float()
    weights = (holdings.float() / member.sum(0).clamp_min(1)) @ member.T
    return torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.ones_like(weights))

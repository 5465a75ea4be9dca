"""How good the server's model is, and each client's after its local training, by the task's own scores."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from ilora.clients import attribute_skew
from ilora.clients.data import ClientData
from ilora.simulation.calibration import calibration_record, consensus
from ilora.stages.context import ClientModels
from ilora.stages.stage import Stage
from ilora.tasks.base import Data
from ilora.tasks.catalogue import TaskCard, tests_of_client
from ilora.tasks.metrics import METRICS
from ilora.tasks.styles import Style
from ilora.training.losses import sample_losses


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


def score_server(card: TaskCard, logits: Tensor, test: Data, more: Mapping[str, tuple[Tensor, Tensor]]) -> ServerScores:
    """All scores of one model: those of the card on the test set, logits (n, C), the main one first, then it on each further one.

    more: name -> logits and labels.
    """
    names = dict.fromkeys([card.metric, *card.metrics])
    found = {name: score(name, answers_of(logits, test.labels), test.labels) for name in names}
    for name, (others, labels) in more.items():
        found[f"{card.metric} {name}"] = score(card.metric, answers_of(others, labels), labels)
    return ServerScores(found[card.metric], float(sample_losses(logits, test.labels).mean()), found)


def score_clients(metric: str, logits: Tensor, test: Data, groups: Tensor, counts: Tensor) -> ClientScores:
    """Score every client's own model by its logits (K, n, C).

    groups (n,): the class, or bin of the label, of every test sample; counts (K, groups): each client's samples.
    """
    answers = answers_of(logits, test.labels)
    losses = sample_losses(logits, test.labels.expand(len(logits), -1))
    weights = own_mixture(groups, counts)
    common = [score(metric, mine, test.labels) for mine in answers]
    own = [score(metric, mine, test.labels, weight) for mine, weight in zip(answers, weights, strict=True)]
    return ClientScores(losses.new_tensor(common), losses.mean(1), losses.new_tensor(own))


def score_in_styles(
    answer: Callable[[list[int], Data], Tensor], metric: str, tests: Mapping[str, Data], worn: Sequence[str]
) -> list[float]:
    """Main score of every client's model on the test samples in the style `worn` by the client; tests by style.

    answer: (clients, data) -> logits of these clients (c, n, C).
    """
    found = [0.0] * len(worn)
    for style, test in tests.items():
        group = [k for k, own in enumerate(worn) if own == style]
        for k, mine in zip(group, answers_of(answer(group, test), test.labels), strict=True):
            found[k] = score(metric, mine, test.labels)
    return found


def first_samples(test: Data, clients: int) -> Data:
    """As many of the first test samples as each of so many clients is evaluated on."""
    return test[: tests_of_client(len(test), clients)]


def own_mixture(groups: Tensor, counts: Tensor) -> Tensor:
    """(K, n) weights under which a test set (n,) has each client's own share of every group; all 1 where it has none of them."""
    member = torch.nn.functional.one_hot(groups, counts.shape[1]).float()
    weights = (counts.float() / member.sum(0).clamp_min(1)) @ member.T
    return torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.ones_like(weights))


@dataclass
class Findings:
    """What is known of how sure models are: scores by name, and arrays for the record's pictures."""

    scores: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)

    def add(self, who: str, logits: Tensor, labels: Tensor) -> None:
        """Take down what the members `who` answer, logits (M, n, C)."""
        scores, pictures = calibration_record(who, logits, labels)
        self.scores |= scores
        self.pictures |= pictures


Answer = Callable[[list[int], Data], Tensor]  # logits (c, n, C) of some clients' own models


def own_answers(sharing: Stage, members: Sequence[ClientModels], clients: list[int], data: Data) -> Tensor:
    """Logits (c, n, C) of some clients' own models, over all members; the stage of sharing may make them of parts."""
    return consensus([sharing.answer(models, clients, data) for models in members])


def examine_clients(
    card: TaskCard, client_data: ClientData, styles: Mapping[str, Style], ids: Sequence[int], answer: Answer, findings: Findings
) -> ClientScores:
    """Score the round's clients after training; together they are an ensemble that costs nothing."""
    some = first_samples(client_data.test, len(ids))
    logits = answer(list(range(len(ids))), some)
    findings.add("clients", logits, some.labels)
    counts = torch.from_numpy(client_data.class_counts[list(ids)]).to(logits.device)
    scores = score_clients(card.metric, logits, some, client_data.test_groups[: len(some)], counts)
    if not client_data.styles:
        return scores
    worn, few = [client_data.styles[k] for k in ids], first_samples(client_data.plain_test, len(ids))
    tests = {style: attribute_skew.in_style(few, styles[style]) for style in dict.fromkeys(worn)}
    own = score_in_styles(answer, card.metric, tests, worn)
    return scores._replace(personal_accuracy=scores.accuracy.new_tensor(own))


def examine_server(
    card: TaskCard, client_data: ClientData, answers: Callable[[Data], list[Tensor]], findings: Findings
) -> ServerScores:
    """Scores of the server's model; answers: data -> the logits (n, C) of each member of it."""
    members = answers(client_data.test)
    logits = consensus(members)
    findings.add("server", logits[None], client_data.test.labels)
    if len(members) > 1:
        findings.add("members", torch.stack(members), client_data.test.labels)
    more = {name: (consensus(answers(data)), data.labels) for name, data in client_data.more_tests.items()}
    return score_server(card, logits, client_data.test, more)


def mean_of_clients(card: TaskCard, clients: ClientScores, p: Tensor) -> ServerScores:
    """What stands for the server's scores where there is no global model: the weighted mean of the clients' own."""
    accuracy, loss = (float(p.to(own) @ own) for own in (clients.accuracy, clients.loss))
    return ServerScores(accuracy, loss, {card.metric: accuracy})

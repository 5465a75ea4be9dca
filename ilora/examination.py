"""The examination at the end of a round: every client's own model, the server's, and how sure they are.

A method may answer by several members (LoRA-Ensemble): then one turn for each of them comes here, and their common answer counts.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ilora import attributes
from ilora.councils import consensus, images, minutes
from ilora.evaluation import ClientScores, ServerScores, first_samples, score_clients, score_in_styles, score_server
from ilora.stacked import slice_clients
from ilora.tasks.base import Data

if TYPE_CHECKING:
    from ilora.simulation import Simulation
    from ilora.turn import Turn


@dataclass
class Findings:
    """What is known of the sureness of models: scores by name, and arrays for the record's pictures."""

    scores: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)

    def hear(self, who: str, logits: Tensor, labels: Tensor) -> None:
        """Take down what the members `who` answer, logits (M, n, C)."""
        scores, pictures = minutes(who, logits, labels)
        self.scores |= scores
        self.pictures |= pictures


def own_answer(turn: "Turn", clients: list[int], data: Data) -> Tensor:
    """Logits (c, n, C) of some clients' models as they were trained."""
    return turn.engine.logits(slice_clients(turn.result, clients), turn.base[clients], data)


def own_answers(simulation: "Simulation", turns: list["Turn"], clients: list[int], data: Data) -> Tensor:
    """Logits (c, n, C) of some clients' own models, over all members; a sharing ingredient may make them of parts."""
    answer = getattr(simulation.stages["sharing"], "answer", own_answer)
    return consensus([answer(turn, clients, data) for turn in turns])


def examine_clients(simulation: "Simulation", turns: list["Turn"], findings: Findings) -> ClientScores:
    """Score the round's clients after training; together they are an ensemble that costs nothing."""
    ids, metric = turns[0].ids, simulation.task.card.metric
    some = first_samples(simulation.test, len(ids))
    logits = own_answers(simulation, turns, list(range(len(ids))), some)
    findings.hear("clients", logits, some.labels)
    if turns[0].index == 1:
        findings.pictures |= images(some.inputs)
    holdings = torch.from_numpy(simulation.facts.class_counts[ids]).to(simulation.device)
    scores = score_clients(metric, logits, some, simulation.holdings.test_groups[: len(some)], holdings)
    held = simulation.holdings
    if not held.styles:
        return scores
    worn, styles = [held.styles[k] for k in ids], simulation.task.styles
    few = first_samples(held.plain_test, len(ids))
    tests = {style: attributes.in_style(few, styles[style]) for style in dict.fromkeys(worn)}
    own = score_in_styles(partial(own_answers, simulation, turns), metric, tests, worn)
    return scores._replace(personal_accuracy=scores.accuracy.new_tensor(own))


def examine_server(simulation: "Simulation", clients: ClientScores, p: Tensor, findings: Findings) -> ServerScores:
    """Scores of the server's model; where there is no global model, the weighted mean of the clients' own."""
    card = simulation.task.card
    if simulation.recipe.personalised:
        accuracy, loss = (float(p.to(own) @ own) for own in (clients.accuracy, clients.loss))
        return ServerScores(accuracy, loss, {card.metric: accuracy})
    models = [member.server() for member in simulation.members]

    def answers(data: Data) -> list[Tensor]:
        return [simulation.engine.logits(*model, data)[0] for model in models]

    test, members = simulation.test, answers(simulation.test)
    logits = consensus(members)
    findings.hear("server", logits[None], test.labels)
    if len(members) > 1:
        findings.hear("members", torch.stack(members), test.labels)
    more = {name: (consensus(answers(data)), data.labels) for name, data in simulation.holdings.more_tests.items()}
    return score_server(card, logits, test, more)

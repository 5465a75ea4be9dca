"""Scenarios: experiments that show one thing each, and what to watch in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ilora.experiment import Experiment


@dataclass(frozen=True)
class Scenario:
    """One question to the playground: the settings that differ from the default experiment, and where to look."""

    title: str
    watch: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def experiment(self) -> Experiment:
        """The experiment to run."""
        return Experiment(**self.changes)


SCENARIOS: dict[str, Scenario] = {
    "calm": Scenario(
        "Nothing goes wrong",
        "All clients see the same mix of classes and have the same rank. Keep this run in mind: every"
        " other scenario changes one thing.",
        {"skew": "iid", "ranks": "uniform", "method": "fedit"},
    ),
    "mixed": Scenario(
        "Mixed ranks",
        "The same even data, but ranks 2, 4, 8 and 16. FedIT fills missing slots with zeros and averages: watch the aggregation"
        " error, then run the same with FlexLoRA or ILoRA.",
        {"skew": "iid", "ranks": "spread", "method": "fedit"},
    ),
    "skewed": Scenario(
        "Extreme label skew",
        "Most of a class lies with one client, and some clients hold hardly anything. Watch client drift climb, and the loss on"
        " the test samples stay at about twice the loss on the clients' own.",
        {"alpha": 0.03, "ranks": "uniform", "method": "fedit"},
    ),
    "twins": Scenario(
        "Rotated twins",
        "Two clients with the same mix of data start from different random A. They learn nearly the same function in differently"
        " rotated factors: watch the aggregation error of round 1, and later, once the server has sent both the same A.",
        {"clients": 2, "skew": "iid", "ranks": "uniform", "method": "fedit", "options": {"initialise": "fresh"}},
    ),
    "collapse": Scenario(
        "Rank collapse",
        "Nearly all clients have rank 2, a few have more. Averaging with zeros dilutes what only these few learn: watch, on the"
        " page about rank collapse, the server's effective rank fall below the ideal one.",
        {"clients": 16, "ranks": "heavy-tail", "method": "fedit"},
    ),
    "noisy": Scenario(
        "One noisy client",
        "One client's labels are random. Watch who it is in the drift of the clients, and what becomes of accuracy. Then leave it"
        " out and run again.",
        {"skew": "iid", "ranks": "uniform", "noisy_clients": 1, "method": "fedit"},
    ),
    "giant": Scenario(
        "One giant client",
        "Client 1 has rank 16, all others rank 2, and the amounts of data differ. Watch who counts most, and what the small ones"
        " cannot receive.",
        {"ranks": "one-giant", "skew": "quantity"},
    ),
    "few": Scenario(
        "Few clients show up",
        "Of 16 clients only 4 take part in a round, drawn anew each time. Watch accuracy jump up and down by several points with"
        " who happens to be there.",
        {"clients": 16, "participation": 0.25, "ranks": "uniform", "method": "fedit"},
    ),
    "paper": Scenario(
        "The paper's settings",
        "ILoRA's own set-up with mixed ranks: three clients of ranks 2, 4 and 6, α = 0.3, five rounds of one local epoch, batches"
        " of 64. Task, backbone and learning rate are this program's. Watch the aggregation error: cutting to rank 6 loses about"
        " a third of the first round's update, and a few percent of the fifth's.",
        {"clients": 3, "ranks": "paper", "rounds": 5, "local_epochs": 1, "batch_size": 64},
    ),
}

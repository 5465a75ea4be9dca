"""Limits of an archive: how large each of its members can be, by what its experiment is and what its facts say of the layers.

They are generous, since methods keep different things, but a run that one of them refuses cannot have been trained.
"""

from dataclasses import dataclass

from ilora.experiment import Experiment
from ilora.records import MOST_PAIRED, RunFacts

MOST_BYTES = 4 * 2**30  # of everything in the zip file, unpacked
MOST_JSON_BYTES = 32 * 2**20  # of run.json: 10,000 rounds and 1,000 clients take 20 MB
MOST_LOG = 200_000  # characters of a log that leave with a run
MOST_RATIO, FREE_BYTES = 100, 16 * 2**20  # unpacked bytes for each packed one, and those that are free: numbers hardly shrink
NUMBER = 4  # bytes of one, as nearly all are stored
OWN_BYTES = 2**18  # of names, shapes and single numbers in any file
SAMPLES = 64  # of the test set whose pixels are kept, and what 3 times up to 16 models say of each class
MEMORIES = 8  # that a method keeps of each client, each as large as its adapters: moments, variates, duals


@dataclass(frozen=True)
class Limits:
    """Most bytes of the members of one run's archive."""

    round: int
    state: int
    log: int

    def of(self, member: str) -> int:
        """Most bytes of one member."""
        return {"r": self.round, "s": self.state, "l": self.log}[member[0]] if member != "run.json" else MOST_JSON_BYTES


def limits_of(experiment: Experiment, facts: RunFacts | None) -> Limits:
    """What a run of `experiment` can take; without facts it has not begun."""
    log = 4 * MOST_LOG
    if facts is None:
        return Limits(0, 0, log)
    K, rank, classes = len(experiment.client_ranks), max(experiment.client_ranks), len(facts.classes)
    C, M, L = K, min(K, MOST_PAIRED), len(facts.layers)
    adapters = NUMBER * rank * sum(d_out + d_in for d_out, d_in in facts.shapes)
    dense = NUMBER * sum(d_out * d_in for d_out, d_in in facts.shapes)
    head = NUMBER * facts.head_parameters
    columns = C * (2_048 + 16 * classes**2)  # a client's numbers, of some methods one for each pair of classes
    records = L * (5 * NUMBER * M**2 + 64 * C + 64 * rank + 8_192)
    pictures = SAMPLES * (3 * 32 * 32 + 3 * 16 * NUMBER * classes)
    round = OWN_BYTES + pictures + columns + records + (3 * M + 8) * adapters
    state = OWN_BYTES + experiment.recipe.members * (2 * dense + (MEMORIES * K + 8) * (adapters + head) + columns)
    return Limits(round, state, log)

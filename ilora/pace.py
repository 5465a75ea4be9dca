"""Pace: how long a round takes here, judged by a run of the same task that this machine has trained."""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from ilora.experiment import Experiment
from ilora.tasks import TASKS

if TYPE_CHECKING:
    from ilora.store import Run

MOST_CLIENT_ROWS = 4_000  # clients x test samples that are evaluated in a round; with many clients each sees fewer samples
LEAST_TESTS, MOST_TESTS = 40, 500  # test samples that each client sees at least, and at most
BACKWARD = 2  # forward passes that a backward pass costs
MOST_RUNS = 30  # the latest ones that are looked at

_SAME = ("task", "backbone", "engine", "device", "precision")


def passes(experiment: Experiment) -> float:
    """Forward passes of one sample that a round costs: of training, backward included, and of the server's and clients' tests."""
    card, share = TASKS[experiment.task], experiment.participation
    clients = max(1, round(share * len(experiment.client_ranks)))
    trained = clients * experiment.local_steps * experiment.batch_size
    if experiment.local_epochs is not None:
        trained = round(experiment.local_epochs * share * card.train_samples)
    tests = card.test_samples
    return (1 + BACKWARD) * trained + tests + clients * tests_of_client(tests, clients)


def tests_of_client(tests: int, clients: int) -> int:
    """How many of the first test samples each of so many clients is evaluated on."""
    return min(tests, MOST_TESTS, max(LEAST_TESTS, MOST_CLIENT_ROWS // clients))


def expected_seconds(runs: "Iterable[Run]", experiment: Experiment) -> float | None:
    """Seconds that a round of `experiment` will take: those of a like run among `runs` (latest first), by their forward passes.

    Runs of the same method are believed first; None where no run tells.
    """
    timed = [(own, run.seconds_per_round) for run in islice(runs, MOST_RUNS) if run.seconds_per_round and (own := _read(run))]
    like = [(own, seconds) for own, seconds in timed if _alike(own, experiment)]
    if not like:
        return None
    own, seconds = next((pair for pair in like if pair[0].method == experiment.method), like[0])
    return seconds * passes(experiment) / passes(own)


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 6_000 else f"{seconds / 3_600:.1f} h"


def _read(run: "Run") -> Experiment | None:
    try:
        return run.experiment
    except ValueError:
        return None


def _alike(one: Experiment, other: Experiment) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in _SAME)

"""Pace: how long a round takes here, judged by runs that this machine has trained, else by what was measured elsewhere."""

from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ilora.experiment import Experiment
from ilora.tasks import TASKS
from ilora.tasks.catalogue import tests_of_client

if TYPE_CHECKING:
    from ilora.lab.runs.store import Run

BACKWARD = 2  # forward passes that a backward pass costs
MOST_RUNS = 30  # the latest ones that are looked at

_MACHINE, _BACKBONE = ("engine", "device", "precision"), ("task", "backbone")


def passes(experiment: Experiment) -> float:
    """Forward passes of one sample that a round costs: of training, backward included, and of the server's and clients' tests."""
    card, share = TASKS[experiment.task], experiment.participation
    clients = max(1, round(share * len(experiment.client_ranks)))
    trained = clients * experiment.local_steps * experiment.batch_size
    if experiment.local_epochs is not None:
        trained = round(experiment.local_epochs * share * card.train_samples)
    tests = card.test_samples
    return (1 + BACKWARD) * trained + tests + clients * tests_of_client(tests, clients)


class Pace(NamedTuple):
    """How long a round takes, in seconds, and the experiment by which that is judged; None: by the catalogue alone."""

    seconds: float
    judge: Experiment | None


def expected_pace(runs: "Iterable[Run]", experiment: Experiment) -> Pace | None:
    """The pace of `experiment` by the forward passes of a run among `runs` (latest first).

    One on the same backbone is believed first, of these one of the same method; then one on another backbone, by the usual
    times of both; then these times alone, which are those of two CPU cores. None where the backbone was never measured.
    """
    timed = [(own, run.seconds_per_round) for run in islice(runs, MOST_RUNS) if run.seconds_per_round and (own := _read(run))]
    here = [(own, seconds) for own, seconds in timed if _agree(own, experiment, _MACHINE)]
    like = [pair for pair in here if _agree(pair[0], experiment, _BACKBONE)]
    if like:
        own, seconds = next((pair for pair in like if pair[0].method == experiment.method), like[0])
        return Pace(seconds * passes(experiment) / passes(own), own)
    usual = usual_seconds(experiment)
    others = ((own, seconds, usual_seconds(own)) for own, seconds in here)
    judge = next(((own, seconds / known) for own, seconds, known in others if known), (None, 1.0))
    return None if usual is None else Pace(usual * judge[1], judge[0])


def usual_seconds(experiment: Experiment) -> float | None:
    """Seconds of a round on two CPU cores by the card of its backbone; None where that was never measured."""
    card = TASKS[experiment.task].backbones.get(experiment.backbone)
    return None if card is None or card.pass_ms is None else passes(experiment) * card.pass_ms / 1_000


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


def _agree(one: Experiment, other: Experiment, names: tuple[str, ...]) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in names)

"""A group of runs that a page started and watches: where it is kept, how often it is looked at, how it stands."""

from ilora.lab.dashboard import data_access
from ilora.lab.runs.pace import duration
from ilora.lab.runs.store import STATUSES, Run

POLL_SECONDS = 1.0
RUN, RUNS = "playground.run", "compare.runs"  # where a session keeps what the playground and Compare show
LEAST, MOST_RUNS = 2, 40  # runs that are compared at once


def describe(run: Run) -> str:
    """Where a run stands, in a few words."""
    counted = f"round {run.done} of {run.rounds}"
    if run.status == "running" and run.wanted == "pause":
        return f"{counted} · pauses after this round"
    if run.status == "running" and not run.done:
        return data_access.store().download_of(run.id) or "the first round is on its way"
    if run.status == "running":
        left = "" if run.seconds_left is None else f" · about {duration(run.seconds_left)} left"
        return f"{counted} · trains{left}"
    return f"{counted} · {STATUSES[run.status]}"

"""Run: one run as it stands in the database, read from its row; a row that cannot be read becomes an unreadable run."""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ilora.checks import number, whole
from ilora.experiment import Experiment
from ilora.lab.runs.metrics import read_metrics
from ilora.lab.runs.seals import RUN_COLUMNS, check_seal
from ilora.methods import METHODS
from ilora.tasks import TASKS

UNREADABLE = "unreadable"
STATUSES = {
    "queued": "queued",
    "running": "running",
    "paused": "waits for Resume or Step",
    "interrupted": "its worker died; queued again",
    "finished": "all rounds are done",
    "stopped": "was stopped; Resume goes on from the last finished round",
    "failed": "ended with an error; Resume tries again from the last finished round",
    UNREADABLE: "what is stored of it is damaged; it can be deleted",
}
WAITING = ("queued", "interrupted")  # for a worker
ACTIVE = ("queued", "running", "paused", "interrupted")
LATEST_TIME = 4_102_444_800.0  # the year 2100, seconds since 1970
MOST_ROUNDS = 10**6  # more than any experiment may have
MOST_SECONDS = 1e9  # of a round
WANTED = ("run", "pause", "step", "stop")


@dataclass(frozen=True)
class Run:
    """One run as it stands now; times are seconds since 1970."""

    id: str
    name: str
    note: str
    group: str  # runs of one comparison share it; empty for a run by itself
    status: str  # a key of STATUSES
    wanted: str  # what its worker shall do at the next round boundary: run, pause, step or stop
    created: float
    started: float | None
    ended: float | None
    rounds: int  # planned
    done: int  # finished and stored
    progress: float  # inside the round in flight, 0..1
    seconds_per_round: float | None
    error: str  # one line, empty unless failed or unreadable
    worker: str  # the one that holds it, if any
    experiment_json: str  # empty if unreadable
    last: Mapping[str, float] = field(default_factory=dict)  # metrics of the last finished round

    @cached_property
    def experiment(self) -> Experiment:
        """What is trained; FieldError if this version no longer knows one of its settings."""
        return Experiment.from_json(self.experiment_json)

    @property
    def active(self) -> bool:
        """Whether it waits, trains or is paused: whether there is something to pause, step, resume or stop."""
        return self.status in ACTIVE

    @property
    def fraction(self) -> float:
        """How much of the run is done, 0..1."""
        return min(1.0, (self.done + self.progress) / self.rounds)

    @property
    def seconds_left(self) -> float | None:
        """Estimated training time left; None before the first round."""
        return None if self.seconds_per_round is None else (1 - self.fraction) * self.rounds * self.seconds_per_round


SELECT_RUN = """
    SELECT runs.rowid AS rowid, runs.*,
        rounds.metrics AS last, rounds.arrays AS last_arrays, rounds.state AS last_state, rounds.seal AS last_seal,
        (SELECT coalesce(max(number), 0) FROM rounds WHERE run = runs.id) AS newest
    FROM runs LEFT JOIN rounds ON rounds.run = runs.id AND rounds.number = runs.done
"""


def run_of(row: sqlite3.Row) -> Run:
    """The run in a row of SELECT_RUN; an unreadable one, with the reason as its error, if a value in it is damaged."""
    try:
        return sound_run(row, _last(row))
    except ValueError as error:
        return _unreadable(row, str(error))


def run_without_metrics(row: sqlite3.Row) -> Run:
    """The run in a row of SELECT_RUN, whatever became of its last round's metrics; ValueError if its own row is damaged."""
    try:
        return sound_run(row, _last(row))
    except ValueError:
        return sound_run(row, {})


def sound_run(row: sqlite3.Row, last: Mapping[str, float]) -> Run:
    """The run in a row of SELECT_RUN; ValueError if a value in it is damaged."""
    check_seal(row["seal"], [row[name] for name in RUN_COLUMNS], "its row in the database")
    for name in ("id", "name", "note", "compare", "experiment", "facts", "status", "wanted", "error", "worker"):
        if not isinstance(row[name], str):
            raise ValueError(f"{name} is {row[name]!r}")
    if row["status"] not in STATUSES or row["wanted"] not in WANTED:
        raise ValueError(f"status is {row['status']!r}, wanted {row['wanted']!r}")
    rounds = whole("rounds", row["rounds"], 1, MOST_ROUNDS)
    return Run(
        **{name: row[name] for name in ("id", "name", "note", "status", "wanted", "error", "worker")},
        started=_moment(row, "started"),
        ended=_moment(row, "ended"),
        group=row["compare"],
        created=_moment(row, "created") or 0.0,
        rounds=rounds,
        done=whole("done", row["done"], 0, rounds),
        progress=number("progress", row["progress"], 0, 1),
        seconds_per_round=_optional("seconds_per_round", row["seconds_per_round"], MOST_SECONDS),
        experiment_json=row["experiment"],
        last=last,
    )


def default_name(experiment: Experiment) -> str:
    """A run's name where the user gave none: method, task unless it is the default one, clients, what makes their data differ."""
    mode = experiment.options.get("mode")
    title = METHODS[experiment.method].title + (f" ({mode})" if mode else "")
    skew = f"α = {experiment.alpha:g}" if experiment.skew in ("label", "quantity") else experiment.skew
    task = "" if experiment.task == Experiment().task else f" · {TASKS[experiment.task].title}"
    clients = "1 client" if experiment.clients == 1 else f"{experiment.clients} clients"
    return f"{title}{task} · {clients} · {skew}"


def label(name: str) -> str:
    """A name on one line, cut where it is long."""
    return " ".join(name.split())[:200]


def _last(row: sqlite3.Row) -> Mapping[str, float]:
    """The metrics of the last finished round; ValueError if they are damaged or missing."""
    if row["newest"] != row["done"]:
        raise ValueError(f"{row['done']} rounds are said to be finished, but the last that is stored is {row['newest']}")
    if row["last"] is None:
        if row["done"]:
            raise ValueError(f"the row of round {row['done']} is not found")
        return {}
    values = (row["id"], row["done"], row["last"], row["last_arrays"], row["last_state"])
    check_seal(row["last_seal"], values, f"the row of round {row['done']}")
    return read_metrics(row["last"], row["done"])


def _moment(row: sqlite3.Row, name: str) -> float | None:
    return _optional(name, row[name], LATEST_TIME)


def _optional(name: str, value: Any, most: float) -> float | None:
    return None if value is None else number(name, value, 0, most)


def _unreadable(row: sqlite3.Row, reason: str) -> Run:
    """What can be said of a run whose row is damaged: its id, its name, and why."""
    return Run(
        id=_text(row["id"]),
        name=label(_text(row["name"])) or "?",
        note="",
        group="",
        status=UNREADABLE,
        wanted="stop",
        created=0.0,
        started=None,
        ended=None,
        rounds=1,
        done=0,
        progress=0.0,
        seconds_per_round=None,
        error=re.sub(r"\s+", " ", f"unreadable: {reason}"),
        worker="",
        experiment_json="",
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)

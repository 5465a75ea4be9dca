"""Store: runs on disk, written by workers and read by everything else, without torch.

`home/store.sqlite` holds the runs and the metrics of their rounds; `home/runs/<id>/` the tensors: `round-0003.safetensors`
for every finished round, `state-0003.safetensors` for what the next round needs. A round becomes visible in one
transaction after its files are whole, so a kill at any moment leaves a run at its last finished round.
"""

import json
import re
import secrets
import shutil
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ilora.experiment import Experiment
from ilora.lab.runs.database import Database
from ilora.methods import METHODS
from ilora.records import SCORE, Round, RunFacts
from ilora.tasks import TASKS
from ilora.tensor_files import StoreError, read_tensors, write_tensors

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["STATUSES", "Run", "Store", "StoreError"]

STATUSES = {
    "queued": "waits for a worker",
    "running": "trains",
    "paused": "waits for Resume or Step",
    "interrupted": "its worker died; waits for another one",
    "finished": "all rounds are done",
    "stopped": "was stopped; Resume goes on from the last finished round",
    "failed": "ended with an error; Resume tries again from the last finished round",
}
WAITING = ("queued", "interrupted")  # for a worker
ACTIVE = ("queued", "running", "paused", "interrupted")
FETCHING = "downloads"  # how a line of a run's log begins that tells of a download
LEFTOVER_SECONDS = 3_600  # a folder without a run is removed when it is older than this
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"


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
    error: str  # one line, empty unless failed
    worker: str  # the one that holds it, if any
    experiment_json: str
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


class Store(Database):
    """All runs under `home` (the folder named by ILORA_HOME, else the user's data folder), for any thread and process."""

    def add(
        self, experiment: Experiment, name: str = "", *, note: str = "", group: str = "", wanted: str = "run", worker: str = ""
    ) -> str:
        """Put a new run into the queue, or straight into the hands of `worker`; returns its id."""
        run_id = self.new_folder(experiment.method)
        now = time.time()
        with self.transaction() as db:
            db.execute(
                "INSERT INTO runs (id, name, note, compare, experiment, status, wanted, created, queued, started, rounds, worker)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(run_id, _label(name) or default_name(experiment), note, group, experiment.to_json()),
                    *("running" if worker else "queued", wanted, now, now, now if worker else None, experiment.rounds, worker),
                ),
            )
        return run_id

    def runs(self, group: str | None = None) -> list[Run]:
        """All runs, or those of one comparison, the newest first."""
        where, values = ("", ()) if group is None else ("WHERE compare = ?", (group,))
        return [_run(row) for row in self.read(f"{_SELECT_RUN} {where} ORDER BY created DESC, id", values)]

    def run(self, run_id: str) -> Run:
        """One run; StoreError if there is none of this id."""
        rows = self.read(f"{_SELECT_RUN} WHERE id = ?", (run_id,))
        if not rows:
            raise StoreError(f"run {run_id!r} does not exist; `python -m ilora runs` lists those that do.")
        return _run(rows[0])

    def history(self, run_id: str) -> "pd.DataFrame":
        """The metrics of all finished rounds, one row per round, columns as in Round.metrics(), indexed by the round's number."""
        import pandas as pd

        rows = self.read("SELECT metrics FROM rounds WHERE run = ? ORDER BY number", (self.run(run_id).id,))
        names = [name for name, kind in Round.__annotations__.items() if kind in (int, float)]
        found = [json.loads(row["metrics"]) for row in rows]
        scores = dict.fromkeys(name for metrics in found for name in metrics if name.startswith(SCORE))
        frame = pd.DataFrame(found, columns=[*names, *scores])
        return frame.set_index("index", drop=False).rename_axis("round")

    def round(self, run_id: str, index: int) -> Round:
        """One finished round with its arrays but without its snapshot; StoreError if it is not there or its file is damaged."""
        run = self.run(run_id)
        rows = self.read("SELECT metrics FROM rounds WHERE run = ? AND number = ?", (run_id, index))
        if not rows:
            raise StoreError(f"round {index} of run {run_id} does not exist; {run.done} of {run.rounds} rounds are finished.")
        path = self.round_file(run_id, index)
        arrays = read_tensors(path, "the run's other rounds are unharmed; to have this one again, start the run anew.")
        try:
            return Round.from_parts(json.loads(rows[0]["metrics"]), arrays)
        except (TypeError, ValueError) as error:
            raise StoreError(f"{path} does not hold what a round consists of ({error}); start the run anew.") from None

    def factors(self, run_id: str, index: int, layer: str) -> dict[str, np.ndarray]:
        """What a finished round keeps of one layer's factors, by "<stage>/<A or B>"; StoreError as for `round`."""
        return self._part(run_id, index, f"factors/{layer}/")

    def layer(self, run_id: str, index: int, layer: str) -> dict[str, np.ndarray]:
        """The fields of one layer's record of a finished round; StoreError as for `round`."""
        return self._part(run_id, index, f"layers/{layer}/")

    def _part(self, run_id: str, index: int, start: str) -> dict[str, np.ndarray]:
        way_out = "the run's other rounds are unharmed; to have this one again, start the run anew."
        found = read_tensors(self.round_file(self.run(run_id).id, index), way_out, start)
        return {name.removeprefix(start): array for name, array in found.items()}

    def facts(self, run_id: str) -> RunFacts | None:
        """What is fixed for the whole run: who holds what; None until a worker has begun it."""
        self.run(run_id)
        text = self.read("SELECT facts FROM runs WHERE id = ?", (run_id,))[0]["facts"]
        return RunFacts.from_json(text) if text else None

    def snapshot(self, run_id: str) -> dict[str, np.ndarray] | None:
        """What the next round needs, as the last finished round left it; None before the first round."""
        done = self.run(run_id).done
        way_out = "the finished rounds are unharmed, but the run cannot go on: start it anew."
        return read_tensors(self.state_file(run_id, done), way_out) if done else None

    def save_facts(self, run_id: str, facts: RunFacts) -> None:
        """Store what is known once the run has started."""
        self.write("UPDATE runs SET facts = ? WHERE id = ?", (facts.to_json(), run_id))

    def save_round(self, run_id: str, round: Round, worker: str) -> bool:
        """Store a finished round; False, and nothing is changed, if the run is no longer in the hands of `worker`."""
        write_tensors(self.round_file(run_id, round.index), round.arrays())
        write_tensors(self.state_file(run_id, round.index), round.snapshot)
        with self.transaction() as db:
            kept = db.execute(
                "UPDATE runs SET done = ?, progress = 0, deaths = 0,"
                " seconds_per_round = (coalesce(seconds_per_round, ?) + ?) / 2 WHERE id = ? AND worker = ? AND done = ?",
                (round.index, round.seconds, round.seconds, run_id, worker, round.index - 1),
            ).rowcount
            if kept:
                db.execute("INSERT INTO rounds VALUES (?, ?, ?)", (run_id, round.index, json.dumps(round.metrics())))
        if kept:
            self.state_file(run_id, round.index - 1).unlink(missing_ok=True)
        return bool(kept)

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name; an empty one is refused."""
        if not _label(name):
            raise StoreError(f"name is {name!r}; allowed is any text that is not empty.")
        self.write("UPDATE runs SET name = ? WHERE id = ?", (_label(name), self.run(run_id).id))

    def set_note(self, run_id: str, note: str) -> None:
        """Replace a run's note."""
        self.write("UPDATE runs SET note = ? WHERE id = ?", (note.strip(), self.run(run_id).id))

    def delete(self, run_id: str) -> None:
        """Remove a run with all its files; StoreError while it is running."""
        run = self.run(run_id)
        if not self.write("DELETE FROM runs WHERE id = ? AND status != 'running'", (run.id,)):
            raise StoreError(f"run {run_id} is running; stop it before you delete it.")
        shutil.rmtree(self.folder(run_id), ignore_errors=True)
        self._remove_leftovers()

    def log(self, run_id: str, text: str) -> None:
        """Append a line, or a traceback, to the run's log."""
        if self.folder(run_id).is_dir():
            with (self.folder(run_id) / "log.txt").open("a", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text.rstrip()}\n")

    def read_log(self, run_id: str, most: int = 200_000) -> str:
        """The last `most` characters of the run's log; empty if there is none."""
        path = self.folder(run_id) / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace")[-most:] if path.exists() else ""

    def download_of(self, run_id: str) -> str:
        """What the run is fetching, and how much of it is here, if that is the last that was heard of it; else empty."""
        _, _, said = self.read_log(run_id, 300).rstrip().rpartition("\n")[2].partition("  ")
        return said if said.startswith(FETCHING) else ""

    def new_folder(self, method: str) -> str:
        """Make the folder of a new run under an id that no other run has, and return the id."""
        stem = re.sub(r"[^a-z0-9]+", "-", method.lower()).strip("-")[:40] or "run"
        while True:
            run_id = f"{stem}-{''.join(secrets.choice(_LETTERS) for _ in range(4))}"
            try:
                self.folder(run_id).mkdir(parents=True)
                return run_id
            except FileExistsError:
                continue
            except OSError as error:
                raise StoreError(f"{self.folder(run_id)} cannot be made ({error}); name another ILORA_HOME.") from None

    def folder(self, run_id: str) -> Path:
        """Where the run's files are; StoreError for text that cannot be a run's id."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", run_id):
            raise StoreError(f"run {run_id!r} does not exist; an id has small letters, digits and hyphens only.")
        return self.home / "runs" / run_id

    def round_file(self, run_id: str, index: int) -> Path:
        """The arrays of one finished round."""
        return self.folder(run_id) / f"round-{index:04d}.safetensors"

    def state_file(self, run_id: str, index: int) -> Path:
        """What the round after round `index` needs."""
        return self.folder(run_id) / f"state-{index:04d}.safetensors"

    def _remove_leftovers(self) -> None:
        """Remove old folders without a run: what a deletion or an import that was cut short has left."""
        known = {row["id"] for row in self.read("SELECT id FROM runs")}
        for folder in (self.home / "runs").iterdir():
            if folder.name not in known and time.time() - folder.stat().st_mtime > LEFTOVER_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


_SELECT_RUN = """
    SELECT runs.*, rounds.metrics AS last FROM runs LEFT JOIN rounds ON rounds.run = runs.id AND rounds.number = runs.done
"""
_RUN_COLUMNS = (
    "id", "name", "note", "status", "wanted", "created", "started", "ended",
    "rounds", "done", "progress", "seconds_per_round", "error", "worker",
)  # fmt: skip


def _run(row: sqlite3.Row) -> Run:
    columns = {name: row[name] for name in _RUN_COLUMNS}
    last = json.loads(row["last"]) if row["last"] else {}
    return Run(**columns, group=row["compare"], experiment_json=row["experiment"], last=last)


def default_name(experiment: Experiment) -> str:
    """A run's name where the user gave none: method, task unless it is the default one, clients, what makes their data differ."""
    mode = experiment.options.get("mode")
    title = METHODS[experiment.method].title + (f" ({mode})" if mode else "")
    skew = f"α = {experiment.alpha:g}" if experiment.skew in ("label", "quantity") else experiment.skew
    task = "" if experiment.task == Experiment().task else f" · {TASKS[experiment.task].title}"
    clients = "1 client" if experiment.clients == 1 else f"{experiment.clients} clients"
    return f"{title}{task} · {clients} · {skew}"


def _label(name: str) -> str:
    return " ".join(name.split())[:200]

"""Rounds: what is stored of a run's finished rounds, checked when it is read, and how a run goes on after damage."""

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ilora.lab.runs.folders import Folders
from ilora.lab.runs.metrics import read_metrics
from ilora.lab.runs.run import SELECT_RUN, Run, run_of, run_without_metrics
from ilora.lab.runs.seals import check_seal, seal_of
from ilora.records import SCORE, Round, RunFacts
from ilora.tensor_files import StoreError, check_tensors, read_tensors, write_tensors

if TYPE_CHECKING:
    import pandas as pd

ROUND_GONE = "the run's other rounds are unharmed; to have this one again, start the run anew."
STATE_GONE = "the finished rounds are unharmed, but the run cannot go on: start it anew."


class Rounds(Folders):
    """The runs of a store one by one, and their rounds."""

    def run(self, run_id: str) -> Run:
        """One run, perhaps an unreadable one; StoreError if there is none of this id."""
        return run_of(self.row(run_id))

    def sound_run(self, run_id: str) -> Run:
        """One run, whatever became of its rounds; StoreError if there is none of this id or its own row is damaged."""
        row = self.row(run_id)
        try:
            return run_without_metrics(row)
        except ValueError as error:
            raise StoreError(f"run {run_id} is unreadable ({error}); delete it.") from None

    def row(self, run_id: str) -> sqlite3.Row:
        """What SELECT_RUN says of one run; StoreError if there is none of this id."""
        rows = self.read(f"{SELECT_RUN} WHERE id = ?", (run_id,))
        if not rows:  # the id may be what is damaged: the index then has another one
            rows = [row for row in self.read(SELECT_RUN) if run_of(row).id == run_id]
        if not rows:
            raise StoreError(f"run {run_id!r} does not exist; `python -m ilora runs` lists those that do.")
        return rows[0]

    def history(self, run_id: str) -> "pd.DataFrame":
        """The metrics of all finished rounds, one row per round, columns as in Round.metrics(), indexed by the round's number.

        A round whose row is damaged has no numbers.
        """
        import pandas as pd

        done = self.sound_run(run_id).done
        rows = {row["number"]: row for row in self.read("SELECT * FROM rounds WHERE run = ?", (run_id,))}
        names = [name for name, kind in Round.__annotations__.items() if kind in (int, float)]
        found = [_metrics_or_nothing(rows.get(index), index) for index in range(1, done + 1)]
        scores = dict.fromkeys(name for metrics in found for name in metrics if name.startswith(SCORE))
        frame = pd.DataFrame(found, columns=[*names, *scores])
        return frame.set_index("index", drop=False).rename_axis("round")

    def round(self, run_id: str, index: int) -> Round:
        """One finished round with its arrays but without its snapshot; StoreError if it is not there or damaged."""
        row = self.round_row(run_id, index)
        arrays = self.arrays(run_id, index, "", row["arrays"])
        try:
            return Round.from_parts(json.loads(row["metrics"]), arrays)
        except (TypeError, ValueError) as error:
            path = self.round_file(run_id, index)
            raise StoreError(f"{path} does not hold what a round consists of ({error}); start the run anew.") from None

    def factors(self, run_id: str, index: int, layer: str) -> dict[str, np.ndarray]:
        """What a finished round keeps of one layer's factors, by "<stage>/<A or B>"; StoreError as for `round`."""
        return self._part(run_id, index, f"factors/{layer}/")

    def layer(self, run_id: str, index: int, layer: str) -> dict[str, np.ndarray]:
        """The fields of one layer's record of a finished round; StoreError as for `round`."""
        return self._part(run_id, index, f"layers/{layer}/")

    def _part(self, run_id: str, index: int, start: str) -> dict[str, np.ndarray]:
        found = self.arrays(run_id, index, start, self.round_row(run_id, index)["arrays"])
        return {name.removeprefix(start): array for name, array in found.items()}

    def arrays(self, run_id: str, index: int, start: str, digest: str) -> dict[str, np.ndarray]:
        """The arrays of a finished round whose names begin with `start`; StoreError if its file is damaged."""
        self.existing_folder(run_id)
        return read_tensors(self.round_file(run_id, index), ROUND_GONE, start, digest)

    def round_row(self, run_id: str, index: int) -> sqlite3.Row:
        """The row of one finished round; StoreError if there is none or it is damaged."""
        run = self.sound_run(run_id)
        rows = self.read("SELECT * FROM rounds WHERE run = ? AND number = ?", (run_id, index))
        if not rows:
            raise StoreError(f"round {index} of run {run_id} does not exist; {run.done} of {run.rounds} rounds are finished.")
        try:
            _metrics(rows[0])
        except ValueError as error:
            raise StoreError(f"round {index} of run {run_id} is unreadable ({error}); {ROUND_GONE}") from None
        return rows[0]

    def facts(self, run_id: str) -> RunFacts | None:
        """What is fixed for the whole run: who holds what; None until a worker has begun it."""
        self.sound_run(run_id)
        text = self.row(run_id)["facts"]
        return RunFacts.from_json(text) if text else None

    def snapshot(self, run_id: str) -> dict[str, np.ndarray] | None:
        """What the next round needs, as the last finished round left it; None before the first round."""
        done = self.sound_run(run_id).done
        if not done:
            return None
        digest = self.round_row(run_id, done)["state"]
        self.existing_folder(run_id)
        return read_tensors(self.state_file(run_id, done), STATE_GONE, "", digest)

    def checked_round_file(self, run_id: str, index: int) -> Path:
        """The file with the arrays of a finished round; StoreError if it is damaged."""
        digest = self.round_row(run_id, index)["arrays"]
        self.existing_folder(run_id)
        check_tensors(self.round_file(run_id, index), ROUND_GONE, digest)
        return self.round_file(run_id, index)

    def checked_state_file(self, run_id: str, index: int) -> Path:
        """The file with what the round after round `index` needs; StoreError if it is damaged."""
        digest = self.round_row(run_id, index)["state"]
        self.existing_folder(run_id)
        check_tensors(self.state_file(run_id, index), STATE_GONE, digest)
        return self.state_file(run_id, index)

    def fall_back(self, run_id: str, worker: str) -> str:
        """Take a run in the hands of `worker` back to its last whole round, and remove what dead workers have left.

        Returns one line that says so, empty if it is the last finished one; StoreError, and nothing is changed, if the run
        cannot go on.
        """
        done = self.sound_run(run_id).done
        index, damage = self._last_whole_round(run_id, done) if done else (0, "")
        if index < done:
            with self.transaction() as db:
                if db.execute("UPDATE runs SET done = ? WHERE id = ? AND worker = ?", (index, run_id, worker)).rowcount:
                    db.execute("DELETE FROM rounds WHERE run = ? AND number > ?", (run_id, index))
        self.tidy(run_id, index)
        return f"goes on from round {index}, for {damage}" if damage else ""

    def _last_whole_round(self, run_id: str, done: int) -> tuple[int, str]:
        """The last round from which the run can go on, and what is damaged after it; StoreError if there is none."""
        state, arrays = self.checked_state_file, self.checked_round_file
        try:
            state(run_id, done)
            arrays(run_id, done)
            return done, ""
        except StoreError as error:
            damage = error
        for index, checks in ((done - 1, (state, arrays)), (done, (state,))):
            try:
                for check in checks:
                    check(run_id, index)
                return index, str(damage)
            except StoreError:
                continue
        raise damage

    def save_facts(self, run_id: str, facts: RunFacts) -> None:
        """Store what is known once the run has started."""
        self.write("UPDATE runs SET facts = ? WHERE id = ?", (facts.to_json(), run_id))

    def save_round(self, run_id: str, round: Round, worker: str) -> bool:
        """Store a finished round; False, and nothing is changed, if the run is no longer in the hands of `worker`."""
        arrays, state = self._write_files(run_id, round)
        values = (run_id, round.index, json.dumps(round.metrics()), arrays, state)
        with self.transaction() as db:
            kept = db.execute(
                "UPDATE runs SET done = ?, progress = 0, deaths = 0,"
                " seconds_per_round = (coalesce(seconds_per_round, ?) + ?) / 2 WHERE id = ? AND worker = ? AND done = ?",
                (round.index, round.seconds, round.seconds, run_id, worker, round.index - 1),
            ).rowcount
            if kept:
                db.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?)", (*values, seal_of(values)))
        if kept:
            self.state_file(run_id, round.index - 2).unlink(missing_ok=True)  # the one before stays, to fall back to
        return bool(kept)

    def _write_files(self, run_id: str, round: Round) -> tuple[str, str]:
        try:
            arrays = write_tensors(self.round_file(run_id, round.index), round.arrays())
            return arrays, write_tensors(self.state_file(run_id, round.index), round.snapshot)
        except OSError as error:
            folder = self.existing_folder(run_id)
            raise StoreError(f"{folder} cannot be written ({error}); see that the disk has space, then resume.") from None


def _metrics(row: sqlite3.Row) -> dict[str, Any]:
    """The metrics in a row of `rounds`; ValueError if it is damaged."""
    values = (row["run"], row["number"], row["metrics"], row["arrays"], row["state"])
    check_seal(row["seal"], values, f"the row of round {row['number']}")
    return read_metrics(row["metrics"], row["number"])


def _metrics_or_nothing(row: sqlite3.Row | None, index: int) -> dict[str, Any]:
    with suppress(ValueError):
        return _metrics(row) if row else {"index": index}
    return {"index": index}

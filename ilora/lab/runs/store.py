"""Store: runs on disk, written by workers and read by everything else, without torch.

`home/store.sqlite` holds the runs and the metrics of their rounds; `home/runs/<id>/` the tensors: `round-0003.safetensors`
for every finished round, `state-0003.safetensors` for what the next round needs. A round becomes visible in one
transaction after its files are whole, so a kill at any moment leaves a run at its last finished round. Every file has a
digest in its round's row, and every row a seal: what changed on the disk is named and never taken for what was stored.
"""

import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ilora.experiment import Experiment
from ilora.lab.runs.folders import FETCHING
from ilora.lab.runs.rounds import Rounds
from ilora.lab.runs.run import SELECT_RUN, STATUSES, UNREADABLE, WAITING, Run, default_name, label, run_of
from ilora.tensor_files import StoreError

__all__ = ["FETCHING", "STATUSES", "UNREADABLE", "WAITING", "Run", "Store", "StoreError", "default_name"]


class Store(Rounds):
    """All runs under `home` (the folder named by ILORA_HOME, else the user's data folder), for any thread and process."""

    def add(
        self, experiment: Experiment, name: str = "", *, note: str = "", group: str = "", wanted: str = "run", worker: str = ""
    ) -> str:
        """Put a new run into the queue, or straight into the hands of `worker`; returns its id."""
        now = time.time()
        values = {
            "name": label(name) or default_name(experiment),
            "note": note,
            "compare": group,
            "experiment": experiment.to_json(),
            "status": "running" if worker else "queued",
            "wanted": wanted,
            "created": now,
            "started": now if worker else None,
            "rounds": experiment.rounds,
            "worker": worker,
        }
        with self.transaction() as db:
            return self.enter(db, experiment.method, values)

    def enter(self, db: sqlite3.Connection, method: str, values: Mapping[str, Any]) -> str:
        """Enter a run with these columns at the end of the queue, with an empty folder; returns its id."""
        run_id = self.new_folder(method)
        names = ["id", *values]
        try:
            db.execute(
                f"INSERT INTO runs ({', '.join(names)}, queued)"
                f" VALUES ({', '.join('?' * len(names))}, (SELECT coalesce(max(queued), 0) + 1 FROM runs))",
                [run_id, *values.values()],
            )
        except BaseException:
            shutil.rmtree(self.folder(run_id), ignore_errors=True)
            raise
        return run_id

    def runs(self, group: str | None = None) -> list[Run]:
        """All runs, or those of one comparison, the one that came last first; what is damaged is an unreadable run."""
        where, values = ("", ()) if group is None else ("WHERE compare = ?", (group,))
        return [run_of(row) for row in self.read(f"{SELECT_RUN} {where} ORDER BY runs.rowid DESC", values)]

    def rename(self, run_id: str, name: str) -> None:
        """Give a run another name; an empty one is refused."""
        if not label(name):
            raise StoreError(f"name is {name!r}; allowed is any text that is not empty.")
        self.write("UPDATE runs SET name = ? WHERE id = ?", (label(name), self.sound_run(run_id).id))

    def set_note(self, run_id: str, note: str) -> None:
        """Replace a run's note."""
        self.write("UPDATE runs SET note = ? WHERE id = ?", (note.strip(), self.sound_run(run_id).id))

    def delete(self, run_id: str) -> None:
        """Remove a run with all its files, on a full disk too; StoreError while it is running, unless it is unreadable."""
        row = self.row(run_id)
        run = run_of(row)
        sql = "DELETE FROM runs WHERE rowid = ?" + ("" if run.status == UNREADABLE else " AND status != 'running'")
        try:
            gone = run.status != "running" and self.write(sql, (row["rowid"],))
        except StoreError as error:
            self._clear_the_way(run_id, error)
            gone = self.write(sql, (row["rowid"],))
        if not gone:
            raise StoreError(f"run {run_id} is running; stop it before you delete it.")
        self._remove_files(run_id)
        if not any(other.status == UNREADABLE for other in self.runs()):  # whose folders may pass for leftovers
            self.remove_leftovers()
        self.set_aside()

    def _clear_the_way(self, run_id: str, error: StoreError) -> None:
        """Do away with what keeps a run from being deleted: a full disk, or an index that no longer fits its table."""
        name = getattr(error.__cause__, "sqlite_errorname", "")
        if name == "SQLITE_FULL" or name.startswith("SQLITE_IOERR"):
            self._remove_files(run_id)
            self.give_back()
        elif name.startswith("SQLITE_CORRUPT"):
            self.write("REINDEX")
        else:
            raise error

    def _remove_files(self, run_id: str) -> None:
        with suppress(StoreError):  # an id that is damaged is no folder's name
            shutil.rmtree(self.folder(run_id), ignore_errors=True)

"""Folders: where a run's files are in a store's home, what its log says, and what is swept out of them."""

import re
import secrets
import shutil
import time
from contextlib import suppress
from pathlib import Path

from ilora.lab.runs.database import Database
from ilora.tensor_files import StoreError

FETCHING = "downloads"  # how a line of a run's log begins that tells of a download
UNPACKING = ".import-"  # how the folder of a run begins that is being imported
LEFTOVER_SECONDS = 24 * 3_600  # such a folder is removed when it is older than this
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"


class Folders(Database):
    """The files of all runs under `home`: `runs/<id>/`, one folder for each run."""

    def new_folder(self, method: str) -> str:
        """Make the folder of a new run under an id that no other run has, and return the id.

        To be called inside the transaction that enters the run: a folder without a run is removed as a leftover.
        """
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

    def existing_folder(self, run_id: str) -> Path:
        """Where the run's files are; StoreError if that folder has gone."""
        folder = self.folder(run_id)
        if not folder.is_dir():
            raise StoreError(f"The run's folder {folder} has gone; move it back, or name in ILORA_HOME where it is now.")
        return folder

    def round_file(self, run_id: str, index: int) -> Path:
        """The arrays of one finished round."""
        return self.folder(run_id) / f"round-{index:04d}.safetensors"

    def state_file(self, run_id: str, index: int) -> Path:
        """What the round after round `index` needs."""
        return self.folder(run_id) / f"state-{index:04d}.safetensors"

    def log(self, run_id: str, text: str) -> None:
        """Append a line, or a traceback, to the run's log; nothing where that cannot be written."""
        with suppress(OSError), (self.folder(run_id) / "log.txt").open("a", encoding="utf-8", errors="replace") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text.rstrip()}\n")

    def read_log(self, run_id: str, most: int = 200_000) -> str:
        """The last `most` characters of the run's log; empty if there is none."""
        path = self.folder(run_id) / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace")[-most:] if path.exists() else ""

    def download_of(self, run_id: str) -> str:
        """What the run is fetching, and how much of it is here, if that is the last that was heard of it; else empty."""
        _, _, said = self.read_log(run_id, 300).rstrip().rpartition("\n")[2].partition("  ")
        return said if said.startswith(FETCHING) else ""

    def tidy(self, run_id: str, done: int) -> None:
        """Remove what a worker that was killed has left beside the files of `done` finished rounds."""
        rounds = {self.round_file(run_id, index) for index in range(1, done + 1)}
        states = {self.state_file(run_id, index) for index in (done - 1, done)}
        folder = self.folder(run_id)
        for path in [*folder.glob(".round-*"), *folder.glob(".state-*"), *folder.glob("*.safetensors")]:
            if path not in rounds | states:
                path.unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove folders without a run: what a deletion or an import that was cut short has left."""
        runs = self.home / "runs"
        with self.transaction() as db:  # no run is entered meanwhile
            known = {row["id"] for row in db.execute("SELECT id FROM runs")}
            for folder in runs.iterdir() if runs.is_dir() else ():
                unpacking = folder.name.startswith(UNPACKING)
                if folder.name not in known and not (unpacking and time.time() - folder.stat().st_mtime < LEFTOVER_SECONDS):
                    shutil.rmtree(folder, ignore_errors=True)

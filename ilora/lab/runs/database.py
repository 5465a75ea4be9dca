"""Database: the SQLite file of a store, opened, checked and locked in one place."""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from ilora.tensor_files import StoreError

APPLICATION_ID = 0x494C6F52  # "ILoR", written into the file's header so that another program's database is recognised
VERSION = 1
BUSY_SECONDS = 15

SCHEMA = """
CREATE TABLE runs (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    note TEXT NOT NULL,
    compare TEXT NOT NULL,
    experiment TEXT NOT NULL,
    facts TEXT NOT NULL DEFAULT '',
    status TEXT NOT NULL,
    wanted TEXT NOT NULL,
    created REAL NOT NULL,
    queued REAL NOT NULL,
    started REAL,
    ended REAL,
    rounds INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    progress REAL NOT NULL DEFAULT 0,
    seconds_per_round REAL,
    error TEXT NOT NULL DEFAULT '',
    worker TEXT NOT NULL DEFAULT '',
    deaths INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_by_status ON runs (status, queued);
CREATE INDEX runs_by_worker ON runs (worker);
CREATE TABLE rounds (
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    metrics TEXT NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;
CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    born REAL NOT NULL,
    state TEXT NOT NULL,
    heartbeat REAL NOT NULL
);
"""


def default_home() -> Path:
    """The folder named by ILORA_HOME, else the user's data folder."""
    named = os.environ.get("ILORA_HOME", "").strip()
    return Path(named).expanduser().resolve() if named else user_data_path("ilora-lab", appauthor=False)


class Database:
    """The file `store.sqlite` in `home`, in WAL mode, with one connection per thread.

    Raises StoreError where the folder cannot be written or the file is damaged, foreign or from a newer version.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = Path(home) if home is not None else default_home()
        self.file = self.home / "store.sqlite"
        self._local = threading.local()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The run folder {self.home} cannot be made ({error}); name another one in ILORA_HOME.") from None
        self.read("SELECT 1 FROM runs LIMIT 1")

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query; StoreError if the file cannot be read."""
        with self._explained():
            return self._connection().execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of the block happens, on disk, or nothing of it."""
        with self._explained():
            db = self._connection()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Execute one statement as a transaction of its own; returns the number of rows it changed."""
        with self.transaction() as db:
            return db.execute(sql, values).rowcount

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"The run database {self.file} cannot be used ({error}); see that the disk has space and that the folder"
                " can be written, or name another one in ILORA_HOME."
            ) from error
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self.file} is damaged or not a run database ({error}); move it away or name another folder in ILORA_HOME,"
                " and a new one is made."
            ) from error

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "db"):
            db = sqlite3.connect(self.file, timeout=BUSY_SECONDS, isolation_level=None)
            db.row_factory = sqlite3.Row
            self._prepare(db)
            self._local.db = db
        connection: sqlite3.Connection = self._local.db
        return connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        _enter_wal_mode(db)
        db.execute("PRAGMA foreign_keys = ON")
        # A finished round's older state is removed once the round is committed, so the commit must have reached the disk.
        db.execute("PRAGMA synchronous = FULL")
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            self._create(db)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise StoreError(f"{self.file} was written by a newer ILoRA Lab; update it, or name another folder in ILORA_HOME.")

    def _create(self, db: sqlite3.Connection) -> None:
        """Make the tables, unless another process has just done so."""
        db.execute("BEGIN IMMEDIATE")
        try:
            if db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID:
                return
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreError(f"{self.file} belongs to another program; move it away or name another folder in ILORA_HOME.")
            for statement in SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        finally:
            db.execute("COMMIT")


def _enter_wal_mode(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; SQLite does not wait by itself when two processes do this at once."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)

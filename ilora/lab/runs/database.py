"""Database: the SQLite file of a store, opened, checked and locked in one place."""

import os
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

from ilora.lab.runs.seals import RUN_COLUMNS, keep_seals
from ilora.tensor_files import StoreError, flush_folder

APPLICATION_ID = 0x494C6F52  # "ILoR", written into the file's header so that another program's database is recognised
BUSY_SECONDS = 15
RESERVE_BYTES = 2**20  # set aside for the deletion of a run when the disk is full

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

MIGRATIONS = (  # from version 1 on; a new file goes through them too
    (
        "ALTER TABLE runs ADD COLUMN seal TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE rounds ADD COLUMN arrays TEXT NOT NULL DEFAULT ''",  # digest of the round's tensor file
        "ALTER TABLE rounds ADD COLUMN state TEXT NOT NULL DEFAULT ''",  # of what the next round needs
        "ALTER TABLE rounds ADD COLUMN seal TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE workers RENAME COLUMN born TO identity",
    ),
)
VERSION = 1 + len(MIGRATIONS)


def default_home() -> Path:
    """The folder named by ILORA_HOME, else the user's data folder."""
    named = os.environ.get("ILORA_HOME", "").strip()
    return Path(named).expanduser().resolve() if named else user_data_path("ilora-lab", appauthor=False)


class Database:
    """The file `store.sqlite` in `home`, in WAL mode, with one connection per thread.

    Raises StoreError where the folder cannot be written or the file is damaged, foreign or from a newer version; such a file is
    not touched.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = Path(home) if home is not None else default_home()
        self.file = self.home / "store.sqlite"
        self._reserve = self.home / ".reserve"
        self._local = threading.local()
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"The run folder {self.home} cannot be made ({error}); name another one in ILORA_HOME.") from None
        self.read("SELECT 1 FROM runs LIMIT 1")
        self.set_aside()

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query; StoreError if the file cannot be read."""
        with self._explained():
            return self._connection().execute(sql, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: all of the block happens, on disk, or nothing of it."""
        with self._explained():
            db = self._connection()
            with _all_or_nothing(db):
                yield db

    def write(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Execute one statement as a transaction of its own; returns the number of rows it changed."""
        with self.transaction() as db:
            return db.execute(sql, values).rowcount

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Within the block, this thread waits no longer than `seconds` for a database that another process has locked."""
        self._local.patience = seconds
        try:
            with self._explained():
                self._connection().execute(f"PRAGMA busy_timeout = {int(1_000 * seconds)}")
            yield
        finally:
            self._local.patience = BUSY_SECONDS
            if hasattr(self._local, "db"):
                self._local.db.execute(f"PRAGMA busy_timeout = {1_000 * BUSY_SECONDS}")

    def set_aside(self) -> None:
        """Keep RESERVE_BYTES of the disk, unless it is nearly full already."""
        with suppress(OSError):
            if not self._reserve.exists() and shutil.disk_usage(self.home).free > 2 * RESERVE_BYTES:
                self._reserve.write_bytes(bytes(RESERVE_BYTES))

    def give_back(self) -> bool:
        """Return to the disk what was set aside; False if there is nothing left of it."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"The run database {self.file} cannot be used ({error}); see that the disk has space and that the folder"
                " can be written, or name another one in ILORA_HOME."
            ) from error
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
            raise StoreError(f"A value cannot be stored in {self.file} ({error}); the database itself is unharmed.") from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # a message may quote what is no text
            raise StoreError(
                f"{self.file} is damaged or not a run database ({error}); move it away or name another folder in ILORA_HOME,"
                " and a new one is made."
            ) from error

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "db"):
            try:
                self._local.db = self._open()
            except sqlite3.OperationalError:  # a full disk has no room for SQLite's own files either
                if not self.give_back():
                    raise
                self._local.db = self._open()
        connection: sqlite3.Connection = self._local.db
        return connection

    def _open(self) -> sqlite3.Connection:
        if not self.file.exists():
            self._make()
        elif self.file.stat().st_size:
            self._refuse_what_is_not_ours()
        patience = getattr(self._local, "patience", BUSY_SECONDS)
        db = sqlite3.connect(self.file, timeout=patience, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.text_factory = lambda text: text.decode("utf-8", "replace")  # one damaged text must not take the others with it
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            _create(db)
        _enter_wal_mode(db, patience)
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA temp_store = MEMORY")
        # A finished round's older state is removed once the round is committed, so the commit must have reached the disk.
        db.execute("PRAGMA synchronous = FULL")
        if db.execute("PRAGMA user_version").fetchone()[0] < VERSION:
            _migrate(db)
        if missing := {*RUN_COLUMNS, "seal"} - {row["name"] for row in db.execute("PRAGMA table_info(runs)")}:
            raise sqlite3.DatabaseError(f"its table of runs lacks {', '.join(sorted(missing))}")
        keep_seals(db)
        return db

    def _make(self) -> None:
        """Make the file under another name first, so that nobody meets it half made."""
        temporary = self.home / f".store.{secrets.token_hex(4)}"
        try:
            with closing(sqlite3.connect(temporary, isolation_level=None)) as db:
                _create(db)
            try:
                os.link(temporary, self.file)
            except FileExistsError:
                return  # another process was faster
            except OSError:  # a file system without links
                os.replace(temporary, self.file)
            flush_folder(self.home)
        finally:
            temporary.unlink(missing_ok=True)

    def _refuse_what_is_not_ours(self) -> None:
        """Look at the file without a change to it: SQLite writes to what it opens for writing."""
        log = self.file.with_name(f"{self.file.name}-wal")
        look = "mode=ro" if log.exists() and log.stat().st_size else "mode=ro&immutable=1"
        with closing(sqlite3.connect(f"{self.file.resolve().as_uri()}?{look}", uri=True, timeout=BUSY_SECONDS)) as db:
            application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application != APPLICATION_ID and (application or version or tables):
            raise StoreError(f"{self.file} belongs to another program; move it away or name another folder in ILORA_HOME.")
        if version > VERSION:
            raise StoreError(f"{self.file} was written by a newer ILoRA Lab; update it, or name another folder in ILORA_HOME.")


@contextmanager
def _all_or_nothing(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _create(db: sqlite3.Connection) -> None:
    """Make the tables, unless another process has just done so."""
    with _all_or_nothing(db):
        if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            for statement in (*SCHEMA.split(";"), *(statement for step in MIGRATIONS for statement in step)):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _migrate(db: sqlite3.Connection) -> None:
    """Bring the tables of an earlier version to this one, unless another process has just done so."""
    with _all_or_nothing(db):
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for step in MIGRATIONS[version - 1 :]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")


def _enter_wal_mode(db: sqlite3.Connection, patience: float) -> None:
    """Switch to write-ahead logging; SQLite does not wait by itself when two processes do this at once."""
    until = time.monotonic() + patience
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)

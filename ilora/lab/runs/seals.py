"""Seals: the sha256 of a row's own values beside them, so that a value that changed on the disk is seen when it is read.

A row without a seal comes from an earlier version: it is taken as it is, and gets one when it is next written.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import Any

RUN_COLUMNS = (
    "id", "name", "note", "compare", "experiment", "facts", "status", "wanted", "created", "queued", "started", "ended",
    "rounds", "done", "progress", "seconds_per_round", "error", "worker", "deaths",
)  # fmt: skip


def seal_of(values: Sequence[Any]) -> str:
    """The seal of these values of one row, in this order."""
    plain = [value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value for value in values]
    return hashlib.sha256(repr(plain).encode()).hexdigest()


def check_seal(seal: Any, values: Sequence[Any], what: str) -> None:
    """ValueError unless `seal` is empty or that of `values`."""
    if seal not in ("", seal_of(values)):
        raise ValueError(f"{what} was damaged on the disk or changed by another program")


def keep_seals(db: sqlite3.Connection) -> None:
    """Let this connection seal every row of `runs` that it writes, and leave alone one whose seal is broken.

    The triggers are this connection's own: nothing of them is in the file.
    """
    db.create_function("seal_of", -1, lambda *values: seal_of(values), deterministic=True)
    as_bytes = "CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END"  # text that is no UTF-8 would be an error
    seal = f"seal_of({', '.join(as_bytes.format(name) for name in RUN_COLUMNS)})"
    changed = f"UPDATE OF {', '.join(RUN_COLUMNS)} ON main.runs"
    write = f"BEGIN UPDATE runs SET seal = {seal} WHERE rowid = NEW.rowid; END"
    broken = f"OLD.seal NOT IN ('', (SELECT {seal} FROM runs WHERE rowid = OLD.rowid))"
    db.execute(f"CREATE TEMP TRIGGER leave_broken_seals BEFORE {changed} WHEN {broken} BEGIN SELECT RAISE(IGNORE); END")
    db.execute(f"CREATE TEMP TRIGGER seal_changed AFTER {changed} {write}")
    db.execute(f"CREATE TEMP TRIGGER seal_new AFTER INSERT ON main.runs {write}")

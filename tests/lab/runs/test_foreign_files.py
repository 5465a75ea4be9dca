"""A store looks before it touches: what is not its own stays byte for byte as it was."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from ilora.lab.runs.database import APPLICATION_ID, SCHEMA, VERSION
from ilora.lab.runs.store import Store, StoreError


def database(*statements: str) -> Callable[[Path], None]:
    def make(file: Path) -> None:
        with closing(sqlite3.connect(file)) as db:
            for statement in statements:
                db.execute(statement)
            db.commit()

    return make


FOREIGN = {
    "another program's": database("CREATE TABLE theirs (x)"),
    "another program's in WAL mode": database("PRAGMA journal_mode = WAL", "CREATE TABLE theirs (x)"),
    "another program's that has our tables": database(*SCHEMA.split(";")),
    "another program's without tables": database("PRAGMA application_id = 7"),
    "one with a version of its own": database("PRAGMA user_version = 7"),
    "a newer version's": database(
        *SCHEMA.split(";"), f"PRAGMA application_id = {APPLICATION_ID}", f"PRAGMA user_version = {VERSION + 1}"
    ),
    "text": lambda file: file.write_bytes(b"this is no database " * 400),
    "a few bytes": lambda file: file.write_bytes(b"hello"),
    "half a header": lambda file: file.write_bytes(b"SQLite format 3\x00" + bytes(30)),
    "zeros": lambda file: file.write_bytes(bytes(8_192)),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_foreign_file_is_refused_and_stays_as_it_was(tmp_path, what):
    file = tmp_path / "store.sqlite"
    FOREIGN[what](file)
    before, others = file.read_bytes(), sorted(tmp_path.iterdir())
    for _ in range(2):
        with pytest.raises(StoreError, match=r"store\.sqlite (is damaged|belongs to another|was written by a newer)"):
            Store(tmp_path)
    assert file.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == others


def test_an_empty_file_becomes_a_store(tmp_path):
    (tmp_path / "store.sqlite").touch()
    assert Store(tmp_path).runs() == []


def test_a_store_whose_first_changes_are_still_in_its_log_is_known(tmp_path):
    """As a version 1 whose process was killed soon after it had made its store: the file itself is nearly empty."""
    home, copy = tmp_path / "home", tmp_path / "copy"
    home.mkdir(), copy.mkdir()
    with closing(sqlite3.connect(home / "store.sqlite")) as db:
        for statement in ("PRAGMA journal_mode = WAL", *SCHEMA.split(";"), f"PRAGMA application_id = {APPLICATION_ID}"):
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        db.commit()
        for name in ("store.sqlite", "store.sqlite-wal"):
            (copy / name).write_bytes((home / name).read_bytes())
    assert Store(copy).runs() == []

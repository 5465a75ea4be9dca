"""Answers to the lessons' questions, by a random learner id and a room's code: no names, no accounts. In the store's database."""

import re
import secrets
import time
from dataclasses import dataclass

from ilora.lab.runs.store import Store, StoreError

LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"  # none that look alike
TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    learner TEXT NOT NULL,
    lesson TEXT NOT NULL,
    step INTEGER NOT NULL,
    room TEXT NOT NULL,
    choice TEXT NOT NULL,
    good INTEGER,
    at REAL NOT NULL,
    PRIMARY KEY (learner, lesson, step)
)"""


@dataclass(frozen=True)
class Answer:
    """One learner's answer to one question; `good` is None until the runs have told."""

    lesson: str
    step: int
    choice: str
    good: bool | None


def new_learner() -> str:
    """A random id that says nothing about anybody."""
    return secrets.token_hex(5)


def new_room() -> str:
    """A code of five letters for a class."""
    return "".join(secrets.choice(LETTERS) for _ in range(5))


def read_learner(text: str) -> str:
    """A learner's id from an address; empty if it cannot be one."""
    return text if re.fullmatch(r"[0-9a-f]{10}", text) else ""


def read_room(text: str) -> str:
    """A room's code as somebody typed it; empty if it cannot be one."""
    code = text.strip().upper()
    return code if re.fullmatch(f"[{LETTERS}]{{5}}", code) else ""


class Classroom:
    """All answers in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        store.write(TABLE)

    def answer(self, learner: str, room: str, lesson: str, step: int, choice: str) -> None:
        """Keep a learner's first answer to a question; a second one changes nothing. StoreError for a strange learner id."""
        if not read_learner(learner):
            raise StoreError(f"learner is {learner!r}; allowed are ten digits and letters from a to f.")
        values = (learner, lesson, step, read_room(room), choice, time.time())
        self.store.write("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, NULL, ?)", values)

    def mark(self, learner: str, lesson: str, step: int, good: bool) -> None:
        """Note whether an answer was what the runs then showed."""
        where = "learner = ? AND lesson = ? AND step = ?"
        self.store.write(f"UPDATE answers SET good = ? WHERE {where}", (int(good), learner, lesson, step))

    def answers(self, learner: str) -> dict[tuple[str, int], Answer]:
        """All answers of a learner, by lesson and number of the question."""
        rows = self.store.read("SELECT * FROM answers WHERE learner = ?", (learner,))
        return {
            (row["lesson"], row["step"]): Answer(
                row["lesson"], row["step"], row["choice"], None if row["good"] is None else bool(row["good"])
            )
            for row in rows
        }

    def forget(self, learner: str, lesson: str) -> None:
        """Remove a learner's answers to one lesson."""
        self.store.write("DELETE FROM answers WHERE learner = ? AND lesson = ?", (learner, lesson))

    def counts(self, room: str) -> dict[tuple[str, int], dict[str, int]]:
        """How many in a room chose what, by lesson and number of the question."""
        rows = self.store.read(
            "SELECT lesson, step, choice, count(*) AS many FROM answers WHERE room = ? GROUP BY lesson, step, choice",
            (read_room(room),),
        )
        found: dict[tuple[str, int], dict[str, int]] = {}
        for row in rows:
            found.setdefault((row["lesson"], row["step"]), {})[row["choice"]] = row["many"]
        return found

    def learners(self, room: str) -> int:
        """How many different learners have answered in a room."""
        code = read_room(room)
        return int(self.store.read("SELECT count(DISTINCT learner) AS many FROM answers WHERE room = ?", (code,))[0]["many"])

    def close(self, room: str) -> None:
        """Remove all answers of a room."""
        self.store.write("DELETE FROM answers WHERE room = ?", (read_room(room),))

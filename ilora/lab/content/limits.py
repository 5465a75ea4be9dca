"""What this program cannot show, or does with a catch, each with the place in the code that it sits in; read from limits.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Limit:
    """One weakness: what it is, what follows from it, and where it sits ("path" or "path:name")."""

    group: str
    title: str
    text: str
    where: str


def _read() -> dict[str, tuple[Limit, ...]]:
    given = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))["limits"]
    limits = [Limit(**{name: text.strip() for name, text in entry.items()}) for entry in given]
    groups = dict.fromkeys(limit.group for limit in limits)
    return {group: tuple(limit for limit in limits if limit.group == group) for group in groups}


LIMITS = _read()

"""Checks of single values: each refusal is a ValueError of one sentence with the field, its value and what is allowed."""

from collections.abc import Collection
from typing import Any

MOST_TEXT = 1_000  # characters


def allow(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raise the ValueError for a field's value unless the condition holds."""
    if not condition:
        raise ValueError(f"{name} is {shown(value)}; allowed: {allowed}.")


def one_of(name: str, value: Any, allowed: Collection[str]) -> None:
    """Refuse a value that is none of the allowed names."""
    allow(isinstance(value, str) and value in allowed, name, value, ", ".join(allowed))


def one_line(name: str, value: Any) -> None:
    """Refuse what is no text of one line."""
    allow(isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable(), name, value, "a text of one line")


def number(name: str, value: Any, least: float, greatest: float) -> float:
    """The value as a float; refused if it is no number of that range."""
    # the range comes first: it refuses NaN and integers too large for a float
    good = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= greatest
    allow(good, name, value, f"a number from {least:g} to {greatest:g}")
    return float(value)


def whole(name: str, value: Any, least: int, greatest: int) -> int:
    """The value as an int; refused if it is no whole number of that range."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= greatest and value == int(value)
    allow(good, name, value, f"a whole number from {least} to {greatest}")
    return int(value)


def listed(name: str, value: Any) -> list[Any]:
    """The value as a list; refused if it is neither list nor tuple."""
    allow(isinstance(value, list | tuple), name, value, "a list")
    return list(value)


def shown(value: Any) -> str:
    """A wrong value as an error message shows it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer or a nesting that Python itself refuses to print
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 80 else f"{text[:77]}..."

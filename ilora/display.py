"""How objects look at the end of a notebook's cell: one short line of text, or a small table."""

import reprlib
from collections.abc import Mapping
from html import escape
from typing import Any

MOST_SHOWN = 900  # characters


def brief(name: str, values: Mapping[str, Any]) -> str:
    """`name(field=value, ...)`, long values and long lists of fields cut."""
    text = ", ".join(f"{field}={reprlib.repr(value)}" for field, value in values.items())
    return f"{name}({text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + '...'})"


def html_table(title: str, values: Mapping[str, Any]) -> str:
    """A table with one row per field, as HTML."""
    rows = (f"<tr><th>{escape(field)}</th><td>{escape(reprlib.repr(value))}</td></tr>" for field, value in values.items())
    return f"<table><caption>{escape(title)}</caption>{''.join(rows)}</table>"

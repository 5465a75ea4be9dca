"""A figure to take away: its numbers as a table, and itself as a page that needs neither server nor network."""

from html import escape
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

TEMPLATE = "plotly_white"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>{body}</main></body></html>
"""
STYLE = """
body { font-family: system-ui, sans-serif; line-height: 1.5; color: #0b131b; background: #fff; margin: 0 }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin: 2rem 0 .25rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums } td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top }
pre { overflow-x: auto; background: #f2f5f8; padding: .75rem }
figure { margin: 1rem 0; break-inside: avoid } figcaption { color: #44525f }
"""  # noqa: E501


def as_table(figure: go.Figure) -> pd.DataFrame:
    """Every point that the figure draws, one row each: trace, x, y, and z where it is a heat map or a surface."""
    parts = [_rows(trace, f"trace {i + 1}") for i, trace in enumerate(figure.data)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["trace", "x", "y"])


def as_html(figure: go.Figure, title: str, sentence: str) -> str:
    """The figure as one HTML file with everything in it, plotly.js included (about 5 MB)."""
    return PAGE.format(
        title=escape(title), style=STYLE, body=f"<h1>{escape(title)}</h1>{as_block(figure, sentence, script=True)}"
    )


def as_block(figure: go.Figure, sentence: str, *, script: bool) -> str:
    """The figure and the sentence under it as a part of a page; one part of a page brings the script for all."""
    drawn = go.Figure(figure).update_layout(template=TEMPLATE)
    html = drawn.to_html(full_html=False, include_plotlyjs=script, config={"displaylogo": False, "responsive": True})
    return f'<figure aria-label="{escape(sentence)}">{html}<figcaption>{escape(sentence)}</figcaption></figure>'


def _rows(trace: Any, number: str) -> pd.DataFrame:
    """The points of one trace."""
    columns = {axis: np.asarray(trace[axis]) for axis in "xyz" if axis in trace and trace[axis] is not None}
    grid = columns.get("z")
    if grid is not None and grid.ndim == 2:
        columns = {axis: _spread(columns.get(axis), axis, grid.shape) for axis in "xyz"}
    length = min((len(values) for values in columns.values()), default=0)
    return pd.DataFrame({"trace": [trace.name or number] * length, **{axis: values[:length] for axis, values in columns.items()}})


def _spread(values: np.ndarray | None, axis: str, shape: tuple[int, ...]) -> np.ndarray:
    """One value per cell of a grid: x names its columns, y its rows."""
    if values is not None and values.ndim == 2:
        return values.ravel()
    place = 1 if axis == "x" else 0
    named = np.arange(shape[place]) if values is None else values
    return named[np.indices(shape)[place].ravel()]

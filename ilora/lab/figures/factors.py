"""Figures of factors and of the updates that they make, number by number."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ilora.lab.figures.frame import FAINT, ORANGE, VERMILION, frame, rank_colours
from ilora.records import Array

SIGNED = [[0.0, "#0072B2"], [0.5, "rgba(127,138,150,0.07)"], [1.0, "#D55E00"]]  # below zero, zero, above
MOST_SIDE = 96  # numbers along a side beyond which a matrix is drawn by the strongest number of each block


def factor_maps(A: Array, B: Array, rank: int, limit: float = 0.0) -> go.Figure:
    """A (R, d_in) above B transposed (R, d_out), one row per slot; slots past `rank` are marked as not there."""
    slots = len(A)
    figure = make_subplots(
        rows=2, cols=1, vertical_spacing=0.28, subplot_titles=("A: one row per slot", "B, transposed: one row per slot")
    )
    limit = limit or strongest(A, B)
    for row, matrix, side in ((1, A, "input"), (2, B.T, "output")):
        figure.update_xaxes(title=f"{side} of the layer", row=row)
        shown = np.array(matrix, dtype=float)
        shown[rank:] = np.nan
        figure.add_heatmap(
            z=shown,
            y=list(range(1, slots + 1)),
            zmin=-limit,
            zmax=limit,
            colorscale=SIGNED,
            showscale=row == 1,
            colorbar={"thickness": 12, "len": 1, "outlinewidth": 0, "nticks": 5},
            x=list(range(1, matrix.shape[1] + 1)),
            hovertemplate=f"slot %{{y}}, {side} %{{x}}: %{{z:.3g}}<extra></extra>",
            row=row,
            col=1,
        )
        if rank < slots:
            _mark_missing(figure, row, rank, slots)
    figure.update_yaxes(autorange="reversed", title="slot", dtick=max(1, slots // 4), showgrid=False, zeroline=False)
    figure.update_xaxes(showgrid=False, zeroline=False, nticks=6)
    return _framed(figure, 470)


def update_maps(ideal: Array, made: Array) -> go.Figure:
    """The ideal update, what a rule made, and their difference, all in one colour scale."""
    parts = {"ideal": ideal, "made": made, "difference": made - ideal}
    limit = strongest(ideal)
    figure = make_subplots(rows=1, cols=3, horizontal_spacing=0.04, subplot_titles=list(parts))
    for column, (name, matrix) in enumerate(parts.items(), start=1):
        figure.add_heatmap(
            z=thinned(matrix),
            zmin=-limit,
            zmax=limit,
            colorscale=SIGNED,
            showscale=column == 3,
            colorbar={"thickness": 12, "len": 1, "outlinewidth": 0, "nticks": 5},
            hovertemplate="%{z:.3g}<extra>" + name + "</extra>",
            row=1,
            col=column,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, autorange="reversed")
    return _framed(figure, 300)


def handed_back(labels: Sequence[str], ranks: Sequence[int], errors: Sequence[float]) -> go.Figure:
    """How far each client is from the ideal update once it has received its share."""
    figure = frame("%")
    for rank, colour in rank_colours(ranks).items():
        chosen = [k for k, own in enumerate(ranks) if own == rank]
        figure.add_bar(
            x=[labels[k] for k in chosen],
            y=[100 * errors[k] for k in chosen],
            name=f"rank {rank}",
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate="%{y:.1f} % of the ideal update<extra>%{x}</extra>",
        )
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=list(labels), title="client")
    figure.update_yaxes(rangemode="tozero", range=[0, 1] if 100 * max(errors) < 1 else None)
    return figure


def strongest(*matrices: Array) -> float:
    """The 99th percentile of the absolute values, so that one outlier does not pale all others."""
    values = np.abs(np.concatenate([matrix.ravel() for matrix in matrices]))
    values = values[values > 0]
    return float(np.percentile(values, 99)) if len(values) else 1.0


def thinned(matrix: Array) -> Array:
    """The matrix, or of every block its strongest number, so that no side is longer than MOST_SIDE."""
    steps = [max(1, -(-side // MOST_SIDE)) for side in matrix.shape]
    if steps == [1, 1]:
        return matrix
    rows, columns = (-(-side // step) for side, step in zip(matrix.shape, steps, strict=True))
    padded = np.zeros((rows * steps[0], columns * steps[1]))
    padded[: matrix.shape[0], : matrix.shape[1]] = matrix
    blocks = padded.reshape(rows, steps[0], columns, steps[1]).transpose(0, 2, 1, 3).reshape(rows, columns, -1)
    best = np.abs(blocks).argmax(-1)
    return np.take_along_axis(blocks, best[..., None], -1)[..., 0]


def _mark_missing(figure: go.Figure, row: int, rank: int, slots: int) -> None:
    words = f"slots {rank + 1} to {slots}: not this client's" if slots - rank > 2 else ""
    figure.add_hrect(y0=rank + 0.5, y1=slots + 0.5, fillcolor=FAINT, opacity=0.25, line_width=0, row=row, col=1)
    if words:
        middle = (rank + slots + 1) / 2
        figure.add_annotation(x=0.5, xref="x domain", y=middle, text=words, showarrow=False, row=row, col=1)
    figure.add_hline(y=rank + 0.5, line={"color": VERMILION if rank else ORANGE, "width": 1.5}, row=row, col=1)


def _framed(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(frame("", height=height, legend=False).layout)
    figure.update_layout(margin={"t": 34})
    return figure.update_xaxes(automargin=True, title={"standoff": 8})

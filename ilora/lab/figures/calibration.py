"""Figures of how sure models are: reliability, ensembles, and the two branches of DFL."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ilora.lab.captions.calibration import WHO, over_rounds
from ilora.lab.figures.frame import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    HEIGHT,
    ORANGE,
    PALETTE,
    PURPLE,
    SYMBOLS,
    VERMILION,
    frame,
    mark,
    rounds_axis,
)
from ilora.records import BINS, SCORE, Array

COLOURS = {
    "server": BLUE,
    "clients/single": ORANGE,
    "clients": VERMILION,
    "client": VERMILION,
    "members/single": PURPLE,
    "members": GREEN,
}
LINES = {
    "server": "solid",
    "clients/single": "dot",
    "clients": "dash",
    "client": "dash",
    "members/single": "dashdot",
    "members": "solid",
}


def reliability(bins: Array, who: str) -> go.Figure:
    """Share of right answers by confidence, the diagonal that it should follow, and the gap between them; bins (3, BINS)."""
    samples, confidence, right = (np.asarray(row, float) for row in bins)
    there, centre = samples > 0, (np.arange(BINS) + 0.5) / BINS
    figure = frame("%")
    hover = "%{customdata[0]:.0f} answers<br>sure %{customdata[1]:.0f} %, right %{y:.0f} %<extra></extra>"
    table = np.stack([samples, 100 * confidence], 1)[there]
    width = 100 / BINS * 0.92
    figure.add_bar(
        x=100 * centre[there], y=100 * right[there], width=width, name="right", marker_color=COLOURS[who],
        customdata=table, hovertemplate=hover,
    )  # fmt: skip
    gap = 100 * (confidence - right)[there]
    figure.add_bar(
        x=100 * centre[there], y=gap, base=100 * right[there], width=width / 3, name="gap", marker_color=GREY, opacity=0.6,
        hovertemplate="gap %{y:.0f} points<extra></extra>",
    )  # fmt: skip
    line = {"color": GREY, "dash": "dot", "width": 1.5}
    figure.add_scatter(x=[0, 100], y=[0, 100], mode="lines", name="as it should be", line=line, hoverinfo="skip")
    figure.update_layout(barmode="overlay")
    tens = [20, 40, 60, 80, 100]
    figure.update_xaxes(title="how sure", range=[0, 100.5], tickvals=tens, ticktext=[f"{ten} %" for ten in tens])
    return figure.update_yaxes(title={"text": "how often right", "standoff": 14}, range=[0, 102], dtick=20)


def calibration_over_rounds(history: pd.DataFrame, measure: str, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """A measure of calibration over the rounds, a line for each model; lower is better."""
    figure = frame("")
    for who, values in over_rounds(history, measure).items():
        figure.add_scatter(
            x=history["index"], y=values, name=WHO[who], mode="lines+markers",
            line={"color": COLOURS[who], "dash": LINES[who]}, marker={"size": 6},
            hovertemplate=f"%{{y:.3f}}<extra>{WHO[who]}</extra>",
        )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    return mark(rounds_axis(figure, rounds), at)


def ensemble(members: Array, sample: int, names: Sequence[str], classes: Sequence[str], truth: int) -> go.Figure:
    """What each member says of one sample, a strip per member, and their mean in the last row; members (M, samples, C)."""
    rows = np.concatenate([members[:, sample], members[:, sample].mean(0, keepdims=True)])
    labels = [*names[: len(members)], "together"]
    figure = frame("", height=max(HEIGHT, 90 + 26 * len(rows)), legend=False)
    figure.add_heatmap(
        z=100 * rows, x=list(classes), y=labels, zmin=0, zmax=100, xgap=1, ygap=2,
        texttemplate="%{z:.0f}" if len(classes) <= 12 else None,
        colorbar={"ticksuffix": " %", "thickness": 12, "len": 1, "outlinewidth": 0},
        hovertemplate="%{y}: %{z:.1f} % for %{x}<extra></extra>",
    )  # fmt: skip
    edge = {"color": VERMILION, "width": 2}
    figure.add_shape(type="rect", x0=truth - 0.5, x1=truth + 0.5, y0=-0.5, y1=len(rows) - 0.5, line=edge)
    figure.update_xaxes(type="category", title="class; the frame is the right one")
    return figure.update_yaxes(type="category", autorange="reversed")


def branch(points: Array, groups: Array, names: Sequence[str]) -> go.Figure:
    """Features in the plane of their two strongest directions, one colour and symbol per group; points (C, n, 2)."""
    figure, owner = frame(""), np.asarray(groups).reshape(-1)
    x, y = np.asarray(points).reshape(-1, 2).T
    for i, group in enumerate(np.unique(owner)):
        here = owner == group
        style = {"color": PALETTE[i % len(PALETTE)], "symbol": SYMBOLS[(i // len(PALETTE) + i) % len(SYMBOLS)], "size": 9}
        figure.add_scatter(
            x=x[here], y=y[here], mode="markers", name=names[int(group)], marker=style,
            hovertemplate=f"{names[int(group)]}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(showticklabels=False, title="strongest direction", gridcolor=FAINT)
    return figure.update_yaxes(showticklabels=False, title="second")


def probe(history: pd.DataFrame, clients: int, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """Share of samples whose client a linear probe names, by branch, with the level of chance."""
    figure = frame("%")
    styles: Mapping[str, tuple[str, str]] = {"private": (VERMILION, "solid"), "shared": (BLUE, "dash")}
    for name, (colour, dash) in styles.items():
        figure.add_scatter(
            x=history["index"], y=100 * history[f"{SCORE}client guessed from {name} features"], name=f"{name} branch",
            mode="lines+markers", line={"color": colour, "dash": dash}, hovertemplate=f"%{{y:.0f}} %<extra>{name}</extra>",
        )  # fmt: skip
    figure.add_hline(y=100 / clients, line={"color": GREY, "dash": "dot"}, annotation_text="chance")
    figure.update_yaxes(range=[0, 102])
    return mark(rounds_axis(figure, rounds), at)

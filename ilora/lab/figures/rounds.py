"""Figures over the rounds of one run or of several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ilora.lab.analysis.measures import measure_of, with_totals
from ilora.lab.captions.words import NOTHING
from ilora.lab.figures.frame import BLUE, GREEN, GREY, ORANGE, SKY, SYMBOLS, VERMILION, frame, mark, method_style, rounds_axis

STEP = "step_error"  # only some servers take a step of their own
NAMED_PARTS = (
    ("averaging_error", "averaging", VERMILION),
    ("truncation_error", "truncation", SKY),
    (STEP, "server's own step", GREEN),
)

ROUNDING = 1e-6  # a drift below it is none: one client, or clients that move alike
AXES = {"index": "Round", "megabytes_up": "Upload, MB", "kiloforwards": "Forward passes, thousands"}


@dataclass(frozen=True)
class Trace:
    """One line in a chart over rounds: its name, its method (which gives the colour) and its metrics, a row per round.

    half: where the metrics are means over seeds, half of their 95 % intervals, drawn as a band.
    """

    name: str
    method: str
    history: pd.DataFrame
    half: pd.DataFrame | None = None


def over_rounds(
    traces: Sequence[Trace], measure: str, at: int | None = None, against: str = "index", rounds: int | None = None
) -> go.Figure:
    """One line per run of a scalar measure, against rounds, megabytes sent up, or thousands of forward passes."""
    words = measure_of(measure)
    figure = frame(words.unit, legend=len(traces) > 1 or measure == "alignment")
    styles = _styles([trace.method for trace in traces])
    for trace, style in zip(traces, styles, strict=True):
        _add_band(figure, trace, measure, against, style["line"]["color"])
    for trace, style in zip(traces, styles, strict=True):
        table = with_totals(trace.history)
        hover = f"%{{y:.{words.digits}f}} {words.unit}".rstrip() + f"<extra>{trace.name}</extra>"
        figure.add_scatter(
            x=table[against], y=table[measure] * words.scale, name=trace.name, mode="lines+markers", hovertemplate=hover, **style
        )
    if measure == "alignment":
        _add_chance(figure, traces, against)
    if measure == "accuracy":
        figure.update_yaxes(range=[0, 102])
    if measure == "drift" and not any(trace.history["drift"].gt(ROUNDING).any() for trace in traces):
        figure.update_yaxes(range=[0, 1])
    if measure == "cosine" and not any(trace.history["cosine"].notna().any() for trace in traces):
        figure.update_yaxes(range=[-1, 1])
    rounds_axis(figure, rounds if against == "index" else None, AXES[against])
    return mark(figure, at)


def losses(history: pd.DataFrame, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """Loss on the test samples and on the clients' own samples."""
    figure = frame("")
    for column, name, colour, dash in (("loss", "test", BLUE, "solid"), ("train_loss", "own samples", ORANGE, "dot")):
        _add_line(figure, history["index"], history[column], name, "%{y:.3f}", {"color": colour, "dash": dash})
    return mark(rounds_axis(figure, rounds), at)


def error_split(history: pd.DataFrame, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """What averaging lost, what cutting the rank lost, how far a step of the server's own went, and the whole error.

    All are shares of the ideal update; the server's step has a bar only where it took one.
    """
    figure = frame("%")
    stepped = STEP in history and bool(history[STEP].ge(NOTHING).any())  # below it is float32's rounding
    for column, name, colour in NAMED_PARTS if stepped else NAMED_PARTS[:2]:
        hover = f"%{{y:.2f}} %<extra>{name}</extra>"
        figure.add_bar(x=history["index"], y=100 * history[column], name=name, marker_color=colour, hovertemplate=hover)
    _add_line(
        figure, history["index"], 100 * history["aggregation_error"], "whole error", "%{y:.2f} %", {"color": GREY, "width": 1.5}
    )
    figure.update_layout(barmode="group", bargap=0.25)
    columns = ["averaging_error", "truncation_error", "aggregation_error", *([STEP] if stepped else [])]
    figure.update_yaxes(rangemode="tozero", range=_at_least(history, columns))
    return mark(rounds_axis(figure, rounds), at)


def traffic(history: pd.DataFrame, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """What has been sent so far, to the server and back."""
    table = with_totals(history)
    figure = frame("MB")
    for column, name, colour, dash in (("megabytes_up", "up", BLUE, "solid"), ("megabytes_down", "down", ORANGE, "dot")):
        _add_line(figure, table["index"], table[column], name, "%{y:.2f} MB", {"color": colour, "dash": dash})
    figure.update_yaxes(rangemode="tozero")
    return mark(rounds_axis(figure, rounds), at)


def _add_line(figure: go.Figure, x: pd.Series, y: pd.Series, name: str, hover: str, line: dict[str, Any]) -> None:
    figure.add_scatter(
        x=x, y=y, name=name, mode="lines+markers", line=line, marker={"size": 6}, hovertemplate=f"{hover}<extra>{name}</extra>"
    )


def _add_band(figure: go.Figure, trace: Trace, measure: str, against: str, colour: str) -> None:
    """The 95 % interval around a mean over seeds."""
    if trace.half is None or measure not in trace.half:
        return
    table, scale = with_totals(trace.history), measure_of(measure).scale
    low, high = (scale * (table[measure] + sign * trace.half[measure].to_numpy()) for sign in (-1, 1))
    along = pd.concat([table[against], table[against][::-1]])
    figure.add_scatter(
        x=along, y=pd.concat([low, high[::-1]]), fill="toself", fillcolor=colour, opacity=0.15, line={"width": 0},
        mode="lines", hovertemplate=f"95 % interval<extra>{trace.name}</extra>", showlegend=False, name=f"{trace.name}, interval",
    )  # fmt: skip


def _styles(methods: Sequence[str]) -> list[dict[str, Any]]:
    """Colour and dash by method; runs of the same method differ in symbol and in the weight of the line."""
    seen: dict[str, int] = {}
    styles = []
    for method in methods:
        nth = seen.get(method, 0)
        seen[method] = nth + 1
        colour, dash = method_style(method)
        line = {"color": colour, "dash": dash, "width": 2.5 if nth == 0 else 1.5}
        styles.append({"line": line, "marker": {"symbol": SYMBOLS[nth % len(SYMBOLS)], "size": 7 if nth == 0 else 9}})
    return styles


def _add_chance(figure: go.Figure, traces: Sequence[Trace], against: str) -> None:
    """The level that random subspaces of the same ranks would have; it hangs on the ranks, which compared runs share."""
    if traces and len(traces[0].history):
        table = with_totals(traces[0].history)
        hover = "%{y:.2f}<extra>random subspaces</extra>"
        line = {"color": GREY, "dash": "dot", "width": 1.5}
        figure.add_scatter(x=table[against], y=table["chance"], name="chance", mode="lines", hovertemplate=hover, line=line)
        figure.update_yaxes(range=[0, 1.02])


def _at_least(history: pd.DataFrame, columns: list[str], least: float = 1.0) -> list[float] | None:
    """A range that shows an error of nothing as nothing, not as magnified rounding."""
    greatest = 100 * float(np.nanmax(history[columns].to_numpy(float), initial=0.0))
    return [0, least] if greatest < least else None

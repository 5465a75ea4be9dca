"""What all figures share: the palette, the empty frame, the axis of rounds, the names of clients."""

from collections.abc import Iterable
from typing import Any

import plotly.graph_objects as go

from ilora.lab.captions.words import client_name
from ilora.methods import METHODS
from ilora.records import Round

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F8A96"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
RANK_COLOURS = (SKY, GREEN, ORANGE, VERMILION, PURPLE, BLUE, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
FAINT, CLEAR = "rgba(127,138,150,0.55)", "rgba(0,0,0,0)"
HEIGHT, TALL = 300, 380


def method_style(method: str) -> tuple[str, str]:
    """The colour and dash of a method, the same in every chart; no two methods share both."""
    known = list(METHODS)
    if method not in known:
        return GREY, "longdash"
    turn, place = divmod(known.index(method), len(PALETTE))
    return PALETTE[place], DASHES[turn % len(DASHES)]


def rank_colours(ranks: Iterable[int]) -> dict[int, str]:
    """A colour for each rank that occurs, from the smallest to the largest."""
    return {rank: RANK_COLOURS[i % len(RANK_COLOURS)] for i, rank in enumerate(sorted({int(rank) for rank in ranks}))}


def frame(unit: str, height: int = HEIGHT, *, legend: bool = True) -> go.Figure:
    """An empty figure with the frame that all share; the y axis carries its unit at every number."""
    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 40 if legend else 12, "b": 8},
        uirevision="stay",
        paper_bgcolor=CLEAR,
        plot_bgcolor=CLEAR,
        font={"size": 13},
        hovermode="closest",
        dragmode=False,
        showlegend=legend,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"},
    )
    figure.update_xaxes(automargin=True, zeroline=False, title={"standoff": 8})
    figure.update_yaxes(automargin=True, zeroline=False, ticksuffix=f" {unit}" if unit else None)
    return figure


def rounds_axis(figure: go.Figure, rounds: int | None, title: str = "Round") -> go.Figure:
    """Whole rounds on the x axis; with `rounds` it is as long as the run will be, so that nothing jumps while it runs."""
    figure.update_xaxes(title=title, tickformat="d" if title == "Round" else None)
    if rounds:
        figure.update_xaxes(range=[0.4, rounds + 0.6], dtick=1 if rounds <= 10 else None)
    return figure


def mark(figure: go.Figure, at: int | None) -> go.Figure:
    """A line at the round that is looked at."""
    if at is not None:
        figure.add_vline(x=at, line={"color": FAINT, "width": 2}, layer="below")
    return figure


def rows_height(rows: int) -> int:
    """Height of a chart with one row per client or layer: the common one while it fits."""
    return max(HEIGHT, min(110 + 24 * rows, 1_200))


def client_labels(record: Round, count: int) -> list[str]:
    return [client_name(record.clients["id"][k], record.clients["rank"][k]) for k in range(count)]


def ticks(labels: list[str], short: list[str], most: int = 40) -> dict[str, Any]:
    step = -(-len(labels) // most)
    return {"tickvals": labels[::step], "ticktext": short[::step]}

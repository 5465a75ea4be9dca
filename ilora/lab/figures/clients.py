"""Figures of the clients: who took part, how good their own models are, and the set-up as a picture."""

from collections.abc import Collection, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType

from ilora.lab.analysis.measures import measure_of
from ilora.lab.captions.words import client_name
from ilora.lab.figures.frame import (
    BLUE,
    CLEAR,
    FAINT,
    HEIGHT,
    ORANGE,
    client_labels,
    frame,
    rank_colours,
    rows_height,
    ticks,
)
from ilora.records import Round, RunFacts, main_score


def participation(record: Round, facts: RunFacts) -> go.Figure:
    """The rank of every client; those who took part in the round stand out."""
    present = {int(identity) for identity in record.clients["id"]}
    labels = [client_name(k) for k in range(facts.clients)]
    figure = frame("")
    for rank, colour in rank_colours(facts.ranks).items():
        chosen = [k for k in range(facts.clients) if facts.ranks[k] == rank]
        opacity = [1.0 if k in present else 0.25 for k in chosen]
        figure.add_bar(
            x=[labels[k] for k in chosen],
            y=[rank] * len(chosen),
            name=f"rank {rank}",
            customdata=[facts.samples[k] for k in chosen],
            meta=chosen,
            marker={"color": colour, "opacity": opacity, "line": {"width": 0}},
            hovertemplate="rank %{y}, %{customdata} samples<extra>%{x}</extra>",
        )
    numbers = [label.split()[-1] for label in labels]
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=labels, title="client", **ticks(labels, numbers, most=40)
    )
    return figure


def clients_accuracy(record: Round) -> go.Figure:
    """Main score of each client's own model on all classes and on its own mix of classes."""
    words = measure_of(main_score(record.metrics()))
    ids = [int(identity) for identity in record.clients["id"]]
    labels = client_labels(record, len(ids))
    figure = frame("", height=rows_height(len(labels)))
    for column, name, colour, symbol in (
        ("accuracy", "on all classes", BLUE, "circle"),
        ("personal_accuracy", "on its own classes", ORANGE, "diamond"),
    ):
        figure.add_scatter(
            x=words.scale * np.asarray(record.clients[column]),
            y=labels,
            mode="markers",
            name=name,
            meta=ids,
            marker={"color": colour, "size": 11, "symbol": symbol},
            hovertemplate=f"%{{x:.{words.digits}f}} {words.unit}<extra>{name}</extra>",
        )
    if words.unit == "%":
        marks = [0, 25, 50, 75, 100]
        figure.update_xaxes(range=[-2, 102], tickvals=marks, ticktext=[f"{value} %" for value in marks], showgrid=True)
    else:  # a correlation
        figure.update_xaxes(range=[-1.05, 1.05], tickvals=[-1, -0.5, 0, 0.5, 1], showgrid=True)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels[::-1])
    return figure


def shows_clients(figure: go.Figure) -> bool:
    """Whether points or bars of the figure stand for clients: such a trace says in `meta` which client each of them is."""
    return any(trace.meta is not None for trace in figure.data)


def hollow(figure: go.Figure, clients: Collection[int]) -> go.Figure:
    """The figure with the points and bars of these clients hollow."""
    for trace in figure.data:
        if trace.meta is not None and set(trace.meta) & set(clients):
            _put_last(trace, clients)
            colour, out = trace.marker.color, [k in clients for k in trace.meta]
            line = {"color": colour, "width": [2 if each else 0 for each in out]}
            trace.marker.update(color=[CLEAR if each else colour for each in out], line=line)
    return figure


def _put_last(trace: BaseTraceType, clients: Collection[int]) -> None:
    """Move these clients behind the others: the first point gives the legend its look."""
    order = sorted(range(len(trace.meta)), key=lambda i: trace.meta[i] in clients)
    for name in ("x", "y", "customdata", "marker.size", "marker.opacity", "meta"):
        if name in trace and not np.isscalar(values := trace[name]) and values is not None:
            trace[name] = [values[i] for i in order]


def idea(ranks: Sequence[int], left_out: Collection[int] = (), most: int = 8) -> go.Figure:
    """The set-up in one picture: a server, and clients that share a frozen weight and train thin factors of their own rank.

    Clients that are left out are hollow and have no line to the server.
    """
    shown = list(ranks)[:most]
    colours, greatest = rank_colours(ranks), max(ranks)
    figure = frame("", height=HEIGHT, legend=False)
    for k, rank in enumerate(shown):
        x = (k + 0.5) * 10 / len(shown)
        draw_client(figure, x, min(0.42, 3 / len(shown)), 0.06 + 0.26 * rank / greatest, colours[rank], k in left_out)
        label = f"rank {rank}" if len(shown) <= 6 else f"r {rank}"
        figure.add_annotation(x=x, y=0.0, text=label, showarrow=False, yanchor="top")
        if k not in left_out:
            figure.add_shape(type="line", x0=5, y0=3.0, x1=x, y1=1.95, line={"color": FAINT, "width": 1.5, "dash": "dot"})
    _add_names(figure, shown)
    draw_box(figure, (4.2, 5.8), (3.0, 3.75), "rgba(0,114,178,0.15)", BLUE)
    figure.add_annotation(x=5, y=3.375, text="server", showarrow=False)
    if len(ranks) > most:
        figure.add_annotation(x=10, y=3.375, text=f"and {len(ranks) - most} clients more", showarrow=False, xanchor="right")
    figure.update_xaxes(visible=False, range=[0, 10], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-0.5, 3.9], fixedrange=True)
    return figure


def _add_names(figure: go.Figure, ranks: Sequence[int]) -> None:
    """What hovering over a drawn client says."""
    figure.add_scatter(
        x=[(k + 0.5) * 10 / len(ranks) for k in range(len(ranks))],
        y=[0.85] * len(ranks),
        mode="markers",
        meta=list(range(len(ranks))),
        marker={"symbol": "square", "size": 60, "color": CLEAR},
        text=[client_name(k, rank) for k, rank in enumerate(ranks)],
        hovertemplate="%{text}<extra></extra>",
    )


def draw_client(figure: go.Figure, x: float, half: float, thick: float, colour: str, left_out: bool = False) -> None:
    """A frozen square with the factors A (flat) and B (tall) beside it, as thick as the rank; hollow if it is left out."""
    fill, edge = (CLEAR, colour) if left_out else (colour, "")
    draw_box(figure, (x - half, x + half), (0.15, 1.15), "rgba(127,138,150,0.12)", FAINT)
    draw_box(figure, (x - half, x + half), (1.25, 1.25 + 1.4 * thick), fill, edge)
    draw_box(figure, (x + 1.12 * half, x + (1.12 + thick) * half), (0.15, 1.15), fill, edge)


def draw_box(figure: go.Figure, x: tuple[float, float], y: tuple[float, float], fill: str, edge: str = "") -> None:
    line = {"color": edge, "width": 1.5} if edge else {"width": 0}
    figure.add_shape(type="rect", x0=x[0], x1=x[1], y0=y[0], y1=y[1], line=line, fillcolor=fill)

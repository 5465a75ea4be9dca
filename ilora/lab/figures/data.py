"""Figures of the clients' data: who holds what, how many samples each client has and how many classes it sees."""

import numpy as np
import plotly.graph_objects as go

from ilora.lab.captions.words import client_name
from ilora.lab.figures.frame import BLUE, ORANGE, TALL, frame, rank_colours
from ilora.records import Array, RunFacts

MOST_BUBBLES = 40  # clients beyond which who holds what is drawn as a heat map
LARGEST_BUBBLE = 26  # pixels across
MOST_CLASSES = 25  # beyond which bubbles would touch: a heat map takes their place


def client_data(facts: RunFacts) -> go.Figure:
    """Who holds what: clients by classes, the area of a bubble is the number of samples."""
    counts = np.asarray(facts.class_counts)
    labels = [client_name(k, rank) for k, rank in enumerate(facts.ranks)]
    many = len(labels) > MOST_BUBBLES or len(facts.classes) > MOST_CLASSES
    figure = frame("", height=max(TALL, 60 + 24 * min(len(labels), MOST_BUBBLES)), legend=not many)
    if many:
        hover = "%{y}: %{z} samples of class %{x}<extra></extra>"
        some = np.where(counts > 0, counts, np.nan)
        bar = {"title": {"text": "samples"}}
        figure.add_heatmap(z=some, zmin=0, x=list(facts.classes), y=labels, hovertemplate=hover, colorbar=bar)
    else:
        for rank, colour in rank_colours(facts.ranks).items():
            _add_bubbles(figure, facts, labels, rank, colour)
    figure.update_layout(legend={"itemsizing": "constant"})
    every = {"dtick": 1} if len(facts.classes) <= 12 else {}
    figure.update_xaxes(title="class", type="category", categoryorder="array", categoryarray=list(facts.classes), **every)
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels[::-1])
    return figure


def _add_bubbles(figure: go.Figure, facts: RunFacts, labels: list[str], rank: int, colour: str) -> None:
    """What the clients of one rank hold."""
    counts = np.asarray(facts.class_counts)
    points = [(k, c) for k, c in zip(*np.nonzero(counts), strict=True) if facts.ranks[k] == rank]
    sizes = [int(counts[k, c]) for k, c in points]
    marker = {"size": sizes, "sizemode": "area", "sizeref": 2 * counts.max() / LARGEST_BUBBLE**2, "sizemin": 2}
    figure.add_scatter(
        x=[facts.classes[c] for _, c in points],
        y=[labels[k] for k, _ in points],
        mode="markers",
        name=f"rank {rank}",
        customdata=sizes,
        meta=[int(k) for k, _ in points],
        marker=marker | {"color": colour, "line": {"width": 0}},
        hovertemplate="%{customdata} samples of class %{x}<extra>%{y}</extra>",
    )


def sizes(facts: RunFacts) -> go.Figure:
    """How many samples each client holds, coloured by its rank."""
    figure = frame("")
    numbers = [str(k + 1) for k in range(facts.clients)]
    for rank, colour in rank_colours(facts.ranks).items():
        chosen = [k for k in range(facts.clients) if facts.ranks[k] == rank]
        figure.add_bar(
            x=[numbers[k] for k in chosen],
            y=[int(facts.samples[k]) for k in chosen],
            name=f"rank {rank}",
            marker={"color": colour, "line": {"width": 0}},
            hovertemplate="%{y} samples<extra>client %{x}</extra>",
        )
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=numbers, title="client", nticks=20)
    figure.update_yaxes(title="samples", rangemode="tozero")
    return figure


def classes_seen(facts: RunFacts, effective: Array) -> go.Figure:
    """How many classes each client holds, and how many it really sees when rare ones count less."""
    figure = frame("")
    numbers = [str(k + 1) for k in range(facts.clients)]
    held = (np.asarray(facts.class_counts) > 0).sum(1)
    for values, name, colour, symbol in (
        (held, "classes held", BLUE, "circle"),
        (effective, "effective number", ORANGE, "diamond"),
    ):
        figure.add_scatter(
            x=numbers,
            y=values,
            name=name,
            mode="markers",
            marker={"color": colour, "size": 10, "symbol": symbol},
            hovertemplate="client %{x}: %{y:.1f}<extra>" + name + "</extra>",
        )
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=numbers, title="client", nticks=20)
    every = {"dtick": 1} if len(facts.classes) <= 5 else {}
    figure.update_yaxes(range=[0, 1.05 * len(facts.classes) + 0.2], title="classes", **every)
    return figure

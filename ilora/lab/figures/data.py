"""Figures of the samples themselves: how many each client has and how many classes it sees."""

import numpy as np
import plotly.graph_objects as go

from ilora.lab.figures.frame import BLUE, ORANGE, frame, rank_colours
from ilora.records import Array, RunFacts


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

"""Figures of the samples themselves: how many each client has, how many classes it sees, and some of its pictures."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ilora.figures.frame import BLUE, ORANGE, frame, rank_colours
from ilora.records import Array, RunFacts
from ilora.sentences import client_name

GREYS = [[0.0, "#F2F5F8"], [1.0, "#0B131B"]]


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
    figure.update_yaxes(range=[0, len(facts.classes) + 0.5], title="classes")
    return figure


def picture_sheet(pictures: Sequence[Array], ranks: Sequence[int]) -> go.Figure:
    """Some pictures of every client, a row each: pictures[k] is (count, height, width) in 0..255."""
    count, height, width = pictures[0].shape
    sheet = np.full((len(pictures) * (height + 1), count * (width + 1)), np.nan)
    for k, own in enumerate(pictures):
        for i, picture in enumerate(own):
            top, left = k * (height + 1), i * (width + 1)
            sheet[top : top + height, left : left + width] = picture
    figure = frame("", height=60 + 44 * len(pictures), legend=False)
    figure.add_heatmap(z=sheet, colorscale=GREYS, zmin=0, zmax=255, showscale=False, hoverinfo="skip")
    rows = [k * (height + 1) + height / 2 for k in range(len(pictures))]
    names = [client_name(k, rank).replace("client ", "").replace("rank", "r") for k, rank in enumerate(ranks)]
    figure.update_xaxes(visible=False)
    figure.update_yaxes(
        autorange="reversed", tickvals=rows, ticktext=names, scaleanchor="x", scaleratio=1, constrain="domain", showgrid=False
    )
    return figure

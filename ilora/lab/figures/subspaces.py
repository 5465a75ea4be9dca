"""Figures of directions and paths: principal-angle spectra, planes in three dimensions, trajectories, corrected gradients."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ilora.lab.analysis.subspaces import Paths, Planes
from ilora.lab.captions.words import client_name
from ilora.lab.figures.frame import BLUE, FAINT, GREEN, GREY, ORANGE, TALL, frame, rank_colours, rows_height
from ilora.records import Array, Round

MOST_DRAWN = 16  # clients whose gradients are drawn as arrows


def angle_spectrum(spectra: Mapping[str, Array], ranks: Sequence[int], chance: Array, whole: Array) -> go.Figure:
    """The principal angles of one client to each other one, to the ideal movement, and of random subspaces."""
    figure = frame("°", height=TALL)
    colours = rank_colours(ranks)
    named: set[int] = set()
    for (name, values), rank in sorted(zip(spectra.items(), ranks, strict=True), key=lambda each: each[1]):
        figure.add_scatter(
            x=np.arange(1, len(values) + 1),
            y=values,
            name=f"to rank {rank}",
            legendgroup=f"rank {rank}",
            showlegend=rank not in named,
            mode="lines+markers",
            line={"color": colours[rank], "width": 1.5},
            marker={"size": 6},
            hovertemplate="angle %{x}: %{y:.0f}°<extra>to " + name + "</extra>",
        )
        named.add(rank)
    for values, name, line in (
        (whole, "to the ideal movement", {"color": BLUE, "width": 3, "dash": "dash"}),
        (chance, "chance", {"color": GREY, "dash": "dot", "width": 2}),
    ):
        hover = f"angle %{{x}}: %{{y:.0f}}°<extra>{name}</extra>"
        figure.add_scatter(
            x=np.arange(1, len(values) + 1), y=values, name=name, mode="lines+markers", line=line, hovertemplate=hover
        )
    figure.update_yaxes(range=[-2, 92], tickvals=[0, 30, 60, 90], ticktext=["0°", "30°", "60°", "90°"])
    figure.update_xaxes(title="principal angle, smallest first", dtick=1 if len(chance) <= 16 else None, tickformat="d")
    return figure


def planes(found: Planes, labels: Sequence[str], ranks: Sequence[int]) -> go.Figure:
    """Every client's plane, the span of its first two directions, in the three directions that the clients share most."""
    figure = frame("", height=460)
    colours, named = rank_colours(ranks), set[int]()
    for axes, label, rank in zip(found.axes, labels, ranks, strict=True):
        first = rank not in named
        named.add(rank)
        group = {"name": f"rank {rank}", "legendgroup": f"rank {rank}"}
        corners = np.array([axes[0], axes[1], -axes[0], -axes[1]])
        x, y, z = corners.T
        hover = f"{label}<extra></extra>"
        if np.linalg.norm(axes[1]) > 0:
            figure.add_mesh3d(
                x=x, y=y, z=z, i=[0, 0], j=[1, 2], k=[2, 3], color=colours[rank], opacity=0.3, hovertemplate=hover, **group
            )
        edge = np.vstack([corners, corners[:1]])
        line = {"color": colours[rank], "width": 4}
        figure.add_scatter3d(
            x=edge[:, 0], y=edge[:, 1], z=edge[:, 2], mode="lines", line=line, showlegend=first, hovertemplate=hover, **group
        )
        figure.add_scatter3d(
            x=[axes[0, 0]],
            y=[axes[0, 1]],
            z=[axes[0, 2]],
            mode="text",
            text=[label.removeprefix("client ").split(" ")[0]],
            showlegend=False,
            hovertemplate=hover,
        )
    side = {"range": [-1.05, 1.05], "showticklabels": False, "title": "", "gridcolor": FAINT, "zerolinecolor": FAINT}
    quiet = side | {"showbackground": False, "showspikes": False}
    scene = {"xaxis": quiet, "yaxis": quiet, "zaxis": quiet, "aspectmode": "cube", "dragmode": "orbit"}
    figure.update_layout(scene=scene | {"camera": {"eye": {"x": 1.2, "y": 1.2, "z": 0.9}}})
    return figure


def paths(found: Paths, at: int, ranks: Sequence[int]) -> go.Figure:
    """The server's way through the rounds, and in round `at` every client's way from where the server stood."""
    figure = frame("", height=460)
    shown = found.rounds.index(at) if at in found.rounds else len(found.rounds) - 1
    everyone = np.concatenate(found.clients)
    figure.add_scatter(
        x=everyone[:, 0],
        y=everyone[:, 1],
        mode="markers",
        name="clients in other rounds",
        marker={"color": FAINT, "size": 4},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=found.server[: shown + 2, 0],
        y=found.server[: shown + 2, 1],
        mode="lines+markers",
        name="server",
        line={"color": BLUE, "width": 3},
        marker={"size": 7},
        customdata=[0, *found.rounds[: shown + 1]],
        hovertemplate="server after round %{customdata}<extra></extra>",
    )
    start, named = found.server[shown], set[int]()
    colours = rank_colours(ranks)
    for k, (end, rank) in enumerate(zip(found.clients[shown], ranks, strict=False)):
        figure.add_scatter(
            x=[start[0], end[0]],
            y=[start[1], end[1]],
            mode="lines+markers",
            name=f"client of rank {rank}",
            legendgroup=f"rank {rank}",
            showlegend=rank not in named,
            line={"color": colours[rank], "width": 2},
            marker={"size": [0, 10], "symbol": "arrow", "angleref": "previous"},
            hovertemplate=f"client {k + 1} of this round, rank {rank}<extra></extra>",
        )
        named.add(rank)
    figure.update_xaxes(title="first common direction", showticklabels=False, showgrid=True)
    figure.update_yaxes(title="second common direction", showticklabels=False, scaleanchor="x", scaleratio=1)
    return figure


def corrections(record: Round) -> go.Figure:
    """For each client: its own descent direction (up, length 1), the control variate, and the sum of both, in their plane."""
    clients = record.clients
    ratio = np.asarray(clients["correction_norm"]) / np.maximum(np.asarray(clients["gradient_norm"]), 1e-12)
    cosine = np.asarray(clients["cosine_to_correction"]).clip(-1, 1)
    tip = np.stack([ratio * np.sqrt(1 - cosine**2), ratio * cosine], 1)
    ratio, tip = ratio[:MOST_DRAWN], tip[:MOST_DRAWN]
    wide, high = 1.0 + float(tip[:, 0].max(initial=0)), 1.6 + max(0.0, float(tip[:, 1].max(initial=0)))
    row, column = np.divmod(np.arange(len(ratio)), 4)
    x, y = wide * column, -high * row
    figure = frame("", height=100 + 150 * (int(row[-1]) + 1))
    parts = (
        ("own gradient step", GREY, x, y, x, y + 1),
        ("control variate", ORANGE, x, y + 1, x + tip[:, 0], y + 1 + tip[:, 1]),
        ("what the client takes", GREEN, x, y, x + tip[:, 0], y + 1 + tip[:, 1]),
    )
    for name, colour, x0, y0, x1, y1 in parts:
        gap = np.full_like(y0, np.nan, dtype=float)
        figure.add_scatter(
            x=np.stack([x0, x1, gap], 1).ravel(),
            y=np.stack([y0, y1, gap], 1).ravel(),
            mode="lines+markers",
            name=name,
            line={"color": colour, "width": 3},
            marker={"size": np.tile([0, 11, 0], len(ratio)), "symbol": "arrow", "angleref": "previous"},
            hovertemplate=name + "<extra></extra>",
        )
    for k in range(len(ratio)):
        words = client_name(clients["id"][k]).removeprefix("client ")
        figure.add_annotation(x=x[k], y=y[k] - 0.12, text=words, showarrow=False, yanchor="top")
    figure.update_xaxes(visible=False, range=[-0.5, 4 * wide - 0.4], constrain="domain")
    figure.update_yaxes(visible=False, scaleanchor="x", scaleratio=1, constrain="domain")
    return figure


def turned(record: Round) -> go.Figure:
    """How much each client's gradient agrees with everyone's mean gradient, before and after the correction."""
    clients = record.clients
    labels = [client_name(i, rank) for i, rank in zip(clients["id"], clients["rank"], strict=True)]
    before, after = np.asarray(clients["cosine_to_mean"]), np.asarray(clients["corrected_cosine_to_mean"])
    figure = frame("", height=rows_height(len(labels)))
    for label, a, b in zip(labels, before, after, strict=True):
        figure.add_scatter(
            x=[a, b], y=[label, label], mode="lines", line={"color": FAINT, "width": 3}, showlegend=False, hoverinfo="skip"
        )
    for values, name, colour, symbol in ((before, "own gradient", GREY, "circle"), (after, "corrected", GREEN, "diamond")):
        figure.add_scatter(
            x=values,
            y=labels,
            mode="markers",
            name=name,
            marker={"color": colour, "size": 11, "symbol": symbol},
            hovertemplate="cosine %{x:.2f}<extra>" + name + "</extra>",
        )
    least = min(0.0, float(np.nanmin([before.min(), after.min()])))
    figure.update_xaxes(range=[least - 0.05, 1.05], showgrid=True, title="cosine to everyone's mean gradient")
    figure.update_yaxes(autorange="reversed")
    return figure

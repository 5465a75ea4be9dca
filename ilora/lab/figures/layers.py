"""Figures of one layer, or of all layers, after one round."""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from ilora.lab.captions.words import NOTHING, layer_names
from ilora.lab.figures.frame import (
    BLUE,
    FAINT,
    GREY,
    SKY,
    TALL,
    VERMILION,
    client_labels,
    frame,
    rank_colours,
    rows_height,
    ticks,
)
from ilora.lab.figures.rounds import NAMED_PARTS, STEP
from ilora.records import Array, LayerRecord, Round

MOST_NUMBERED = 10  # clients up to which every cell of the heat map carries its number


def error_by_layer(record: Round) -> go.Figure:
    """What averaging and cutting the rank lost in every adapted layer, and how far a step of the server's own went."""
    names = layer_names(list(record.layers))
    labels = [names[layer] for layer in record.layers]
    figure = frame("", height=rows_height(len(names)))
    stepped = any(getattr(found, STEP) >= NOTHING for found in record.layers.values())
    for field, name, colour in NAMED_PARTS if stepped else NAMED_PARTS[:2]:
        values = [100 * getattr(found, field) for found in record.layers.values()]
        hover = f"%{{x:.2f}} %<extra>{name}</extra>"
        figure.add_bar(x=values, y=labels, name=name, orientation="h", marker_color=colour, hovertemplate=hover)
    whole = [100 * found.relative_error for found in record.layers.values()]
    marker = {"color": GREY, "symbol": "line-ns-open", "size": 12, "line": {"width": 3}}
    hover = "%{x:.2f} %<extra>whole error</extra>"
    figure.add_scatter(x=whole, y=labels, name="whole error", mode="markers", marker=marker, hovertemplate=hover)
    greatest = max((value for value in whole if np.isfinite(value)), default=0)
    figure.update_xaxes(ticksuffix=" %", rangemode="tozero", range=[0, 1] if greatest < 1 else None, showgrid=True)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def alignment(record: Round, layer: str, side: str = "columns") -> go.Figure:
    """Overlap of the clients' column or row spaces, client by client; the colour bar marks the chance level."""
    found = record.layers[layer]
    overlap = _no_diagonal(found.overlap_columns if side == "columns" else found.overlap_rows)
    labels = client_labels(record, len(overlap))
    figure = frame("", height=TALL, legend=False)
    figure.add_heatmap(
        z=overlap,
        x=labels,
        y=labels,
        zmin=0,
        zmax=1,
        xgap=1,
        ygap=1,
        customdata=found.overlap_chance,
        text=[[_cell(value) for value in row] for row in overlap],
        texttemplate="%{text}" if len(overlap) <= MOST_NUMBERED else None,
        textfont={"size": 11},
        hovertemplate="%{y} and %{x}: overlap %{z:.2f}<br>random subspaces: %{customdata:.2f}<extra></extra>",
        colorbar=_overlap_bar(found),
    )
    short = [label.removeprefix("client ").replace(" (rank ", "<br>r ").rstrip(")") for label in labels]
    figure.update_xaxes(type="category", showgrid=False, **ticks(labels, short, most=16))
    narrow = [label.replace("client ", "").replace("rank", "r") for label in labels]
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", **ticks(labels, narrow, most=24))
    return figure


def angles(record: Round, layer: str) -> go.Figure:
    """Mean principal angle of each client to the others and to the ideal movement, in degrees."""
    found = record.layers[layer]
    labels = client_labels(record, len(found.angles_global))
    figure = frame("", height=rows_height(len(labels)))
    pairs = [(i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j]
    figure.add_scatter(
        x=[found.angles[i, j] for i, j in pairs],
        y=[labels[i] for i, _ in pairs],
        customdata=[labels[j] for _, j in pairs],
        mode="markers",
        name="to each other client",
        marker={"color": SKY, "size": 8, "opacity": 0.6},
        hovertemplate="%{x:.0f}° to %{customdata}<extra>%{y}</extra>",
    )
    figure.add_scatter(
        x=found.angles_global,
        y=labels,
        mode="markers",
        name="to the ideal movement",
        marker={"color": VERMILION, "size": 11, "symbol": "diamond"},
        hovertemplate="%{x:.0f}° to the ideal movement<extra>%{y}</extra>",
    )
    figure.update_xaxes(range=[-2, 92], tickvals=[0, 30, 60, 90], ticktext=["0°", "30°", "60°", "90°"], showgrid=True)
    figure.update_yaxes(autorange="reversed")
    return figure


def drift(record: Round, layer: str) -> go.Figure:
    """How far each client's movement lies from the mean movement, in its lengths: one bar per client, coloured by rank."""
    found = record.layers[layer]
    labels = [str(int(identity) + 1) for identity in record.clients["id"]]
    ranks = np.asarray(record.clients["rank"])
    figure = frame("×")
    for rank, colour in rank_colours(ranks).items():
        chosen = np.flatnonzero(ranks == rank)
        figure.add_bar(
            x=[labels[k] for k in chosen],
            y=np.asarray(found.drift_clients)[chosen],
            name=f"rank {rank}",
            marker={"color": colour, "line": {"width": 0}},
            customdata=np.asarray(found.movement_norm)[chosen],
            meta=[int(record.clients["id"][k]) for k in chosen],
            hovertemplate="%{y:.2f} times the mean movement<br>own movement: %{customdata:.3f}"
            f"<extra>client %{{x}}, rank {rank}</extra>",
        )
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=labels, title="client")
    figure.update_yaxes(rangemode="tozero")
    return figure


def spectrum(record: Round, layer: str, smallest: int | None = None) -> go.Figure:
    """Singular values of the ideal update and of what the server holds; the line marks `smallest`, by default the round's."""
    found = record.layers[layer]
    figure = frame("")
    ideal = {"line": {"color": FAINT, "width": 7}, "mode": "lines"}
    held = {"line": {"color": BLUE, "width": 2}, "mode": "lines+markers", "marker": {"size": 6}}
    for values, name, style in (
        (found.singular_values_ideal, "ideal update", ideal),
        (found.singular_values, "server's update", held),
    ):
        slots = np.arange(1, len(values) + 1)
        figure.add_scatter(x=slots, y=values, name=name, hovertemplate="%{y:.3g}<extra>" + name + "</extra>", **style)
    smallest = smallest or int(np.min(record.clients["rank"]))
    figure.add_vline(x=smallest + 0.5, line={"color": FAINT, "width": 1.5, "dash": "dash"})
    figure.add_annotation(
        x=smallest + 0.6, y=0.97, yref="paper", text=f"smallest rank: {smallest}", showarrow=False, xanchor="left", yanchor="top"
    )
    figure.update_xaxes(title="direction, strongest first", range=[0.5, len(found.singular_values_ideal) + 0.5], tickformat="d")
    figure.update_yaxes(rangemode="tozero", title="singular value")
    return figure


def _overlap_bar(found: LayerRecord) -> dict[str, Any]:
    """The colour bar of an overlap, with the chance level among its marks."""
    marks = {0.0: "0", 0.5: "0.5", 1.0: "1"}
    chance = float(np.nanmean(found.overlap_chance)) if np.isfinite(found.overlap_chance).any() else float("nan")
    if np.isfinite(chance):
        marks = {value: text for value, text in marks.items() if abs(value - chance) > 0.05} | {chance: "chance"}
    return {"thickness": 12, "len": 1, "outlinewidth": 0, "tickvals": list(marks), "ticktext": list(marks.values())}


def _no_diagonal(matrix: Array) -> Array:
    """Every client agrees with itself: leave that out."""
    shown = np.array(matrix, dtype=float)
    np.fill_diagonal(shown, np.nan)
    return shown


def _cell(value: float) -> str:
    """An overlap in a small cell: .72 for 0.72."""
    return "" if np.isnan(value) else f"{value:.2f}".removeprefix("0")

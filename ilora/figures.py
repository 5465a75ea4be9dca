"""Plotly figures as pure functions of records: used by pages, notebooks and reports alike.

Every figure has a fixed height and a `uirevision`, draws SVG, leaves its ground transparent so that light and dark both
work, and says its units on hover. Colours are Okabe and Ito's: one per method everywhere, one per rank within a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ilora.methods import METHODS
from ilora.records import Round, RunFacts
from ilora.sentences import MEASURES, client_name, layer_names, with_totals

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F8A96"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
RANK_COLOURS = (SKY, GREEN, ORANGE, VERMILION, PURPLE, BLUE, GREY)
DASHES = ("solid", "dot", "dash", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
FAINT = "rgba(127,138,150,0.55)"
HEIGHT, TALL = 300, 380
MOST_BUBBLES = 40  # clients beyond which who holds what is drawn as a heat map
CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"], "scrollZoom": False}


@dataclass(frozen=True)
class Trace:
    """One run in a chart over rounds: its name, its method (which gives the colour) and its metrics, a row per round."""

    name: str
    method: str
    history: pd.DataFrame


def method_colour(method: str) -> str:
    """The colour of a method, the same in every chart."""
    known = list(METHODS)
    return PALETTE[known.index(method) % len(PALETTE)] if method in known else GREY


def rank_colours(ranks: Sequence[int]) -> dict[int, str]:
    """A colour for each rank that occurs, from the smallest to the largest."""
    return {rank: RANK_COLOURS[i % len(RANK_COLOURS)] for i, rank in enumerate(sorted({int(rank) for rank in ranks}))}


def over_rounds(
    traces: Sequence[Trace], measure: str, at: int | None = None, against: str = "index", rounds: int | None = None
) -> go.Figure:
    """One line per run of a scalar measure, against rounds or against the megabytes sent up."""
    figure = _figure(_axis(measure))
    words = MEASURES[measure]
    for trace, style in zip(traces, _styles([trace.method for trace in traces]), strict=True):
        table = with_totals(trace.history)
        x = table[against]
        hover = f"%{{y:.{words.digits}f}} {words.unit}".rstrip()
        figure.add_scatter(
            x=x, y=table[measure] * words.scale, name=trace.name, mode="lines+markers", hovertemplate=f"{hover}<extra>{trace.name}</extra>",
            **style,
        )  # fmt: skip
    if measure == "alignment":
        _add_chance(figure, traces, against)
    _rounds_axis(figure, rounds if against == "index" else None, "Round" if against == "index" else "Sent up, MB")
    figure.update_layout(showlegend=len(traces) > 1 or measure == "alignment")
    if words.scale == 100 and measure == "accuracy":
        figure.update_yaxes(range=[0, 102])
    return _mark(figure, at)


def losses(history: pd.DataFrame, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """Loss on the test samples and on the clients' own samples."""
    figure = _figure("Cross-entropy")
    for column, name, colour, dash in (("loss", "test", BLUE, "solid"), ("train_loss", "own samples", ORANGE, "dot")):
        figure.add_scatter(
            x=history["index"], y=history[column], name=name, mode="lines+markers", line={"color": colour, "dash": dash},
            hovertemplate="%{y:.3f}<extra>" + name + "</extra>",
        )  # fmt: skip
    return _mark(_rounds_axis(figure, rounds), at)


def error_split(history: pd.DataFrame, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """What averaging lost, what cutting the rank lost, and the whole error, as shares of the ideal update."""
    figure = _figure("% of the ideal update")
    parts = (("averaging_error", "averaging", VERMILION), ("truncation_error", "cutting the rank", SKY))
    for column, name, colour in parts:
        figure.add_bar(x=history["index"], y=100 * history[column], name=name, marker_color=colour, hovertemplate=f"%{{y:.2f}} %<extra>{name}</extra>")
    figure.add_scatter(
        x=history["index"], y=100 * history["aggregation_error"], name="whole error", mode="lines+markers", line={"color": GREY, "width": 1.5},
        marker={"size": 6}, hovertemplate="%{y:.2f} %<extra>whole error</extra>",
    )  # fmt: skip
    figure.update_layout(barmode="group", bargap=0.25)
    figure.update_yaxes(rangemode="tozero", range=_at_least(history, ["averaging_error", "truncation_error", "aggregation_error"]))
    return _mark(_rounds_axis(figure, rounds), at)


def error_by_layer(record: Round) -> go.Figure:
    """The same split for every adapted layer of one round."""
    names = layer_names(list(record.layers))
    figure = _figure("", height=_rows_height(len(names)))
    labels = [names[layer] for layer in record.layers]
    for field, name, colour in (("averaging_error", "averaging", VERMILION), ("truncation_error", "cutting the rank", SKY)):
        values = [100 * getattr(found, field) for found in record.layers.values()]
        figure.add_bar(x=values, y=labels, name=name, orientation="h", marker_color=colour, hovertemplate=f"%{{x:.2f}} %<extra>{name}</extra>")
    whole = [100 * found.relative_error for found in record.layers.values()]
    figure.add_scatter(
        x=whole, y=labels, name="whole error", mode="markers", marker={"color": GREY, "symbol": "line-ns-open", "size": 12, "line": {"width": 3}},
        hovertemplate="%{x:.2f} %<extra>whole error</extra>",
    )  # fmt: skip
    greatest = max((value for value in whole if np.isfinite(value)), default=0)
    figure.update_xaxes(title="% of the ideal update", rangemode="tozero", range=[0, 1] if greatest < 1 else None)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def alignment(record: Round, layer: str, side: str = "columns") -> go.Figure:
    """Overlap of the clients' column or row spaces, client by client; the colour bar marks the chance level."""
    found = record.layers[layer]
    overlap = found.overlap_columns if side == "columns" else found.overlap_rows
    labels = _client_labels(record, len(overlap))
    few = len(overlap) <= 10
    chance = float(np.nanmean(found.overlap_chance)) if len(overlap) else float("nan")
    figure = _figure("", height=TALL)
    figure.add_heatmap(
        z=_no_diagonal(overlap), x=labels, y=labels, zmin=0, zmax=1, xgap=1, ygap=1, customdata=found.overlap_chance,
        texttemplate="%{z:.2f}" if few else None, textfont={"size": 12},
        hovertemplate="%{y} and %{x}: overlap %{z:.2f}<br>random subspaces: %{customdata:.2f}<extra></extra>",
        colorbar={
            "title": {"text": "overlap", "side": "right"}, "thickness": 12, "len": 1, "outlinewidth": 0,
            "tickvals": [0, chance, 0.5, 1] if np.isfinite(chance) else [0, 0.5, 1],
            "ticktext": ["0", "chance", "0.5", "1"] if np.isfinite(chance) else ["0", "0.5", "1"],
        },
    )  # fmt: skip
    return _square(figure, labels)


def angles(record: Round, layer: str) -> go.Figure:
    """Mean principal angle of each client to the others and to the ideal movement, in degrees."""
    found = record.layers[layer]
    labels = _client_labels(record, len(found.angles_global))
    figure = _figure("", height=_rows_height(len(labels)))
    apart = np.array(found.angles, dtype=float)
    np.fill_diagonal(apart, np.nan)
    points = [(labels[i], apart[i, j], labels[j]) for i in range(len(labels)) for j in range(len(labels)) if i != j]
    figure.add_scatter(
        x=[angle for _, angle, _ in points], y=[label for label, _, _ in points], customdata=[other for _, _, other in points], mode="markers",
        name="to each other client", marker={"color": SKY, "size": 8, "opacity": 0.6}, hovertemplate="%{x:.0f}° to %{customdata}<extra>%{y}</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=found.angles_global, y=labels, mode="markers", name="to the ideal movement",
        marker={"color": VERMILION, "size": 11, "symbol": "diamond"}, hovertemplate="%{x:.0f}° to the ideal movement<extra>%{y}</extra>",
    )  # fmt: skip
    figure.update_xaxes(title="mean principal angle, degrees", range=[-2, 92], tickvals=[0, 30, 60, 90], ticktext=["0°", "30°", "60°", "90°"])
    figure.update_yaxes(autorange="reversed")
    return figure


def drift(record: Round, layer: str) -> go.Figure:
    """How far each client's movement lies from the mean movement, one bar per client."""
    found = record.layers[layer]
    return _client_bars(record, found.drift_clients, "times the mean movement", "%{y:.2f} times the mean movement<br>own movement: %{customdata:.3f}", found.movement_norm)


def clients_accuracy(record: Round) -> go.Figure:
    """Accuracy of each client's own model on all classes and on its own mix of classes."""
    labels = _client_labels(record, len(record.clients["id"]))
    figure = _figure("", height=_rows_height(len(labels)))
    for column, name, colour, symbol in (
        ("accuracy", "on all classes", BLUE, "circle"), ("personal_accuracy", "on its own classes", ORANGE, "diamond")
    ):  # fmt: skip
        figure.add_scatter(
            x=100 * np.asarray(record.clients[column]), y=labels, mode="markers", name=name, marker={"color": colour, "size": 11, "symbol": symbol},
            hovertemplate="%{x:.1f} %<extra>" + name + "</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="accuracy, %", range=[-2, 102])
    figure.update_yaxes(autorange="reversed")
    return figure


def holdings(facts: RunFacts) -> go.Figure:
    """Who holds what: clients by classes, the area of a bubble is the number of samples."""
    counts = np.asarray(facts.class_counts)
    labels = [client_name(k, rank) for k, rank in enumerate(facts.ranks)]
    figure = _figure("", height=max(TALL, 60 + 24 * min(len(labels), MOST_BUBBLES)))
    if len(labels) > MOST_BUBBLES:
        figure.add_heatmap(z=counts, x=list(facts.classes), y=labels, hovertemplate="%{y}: %{z} samples of class %{x}<extra></extra>")
    else:
        colours = rank_colours(facts.ranks)
        for rank, colour in colours.items():
            points = [(k, c) for k, held in enumerate(facts.ranks) if held == rank for c in range(len(facts.classes)) if counts[k, c]]
            figure.add_scatter(
                x=[facts.classes[c] for _, c in points], y=[labels[k] for k, _ in points], mode="markers", name=f"rank {rank}",
                customdata=[counts[k, c] for k, c in points], hovertemplate="%{customdata} samples of class %{x}<extra>%{y}</extra>",
                marker={"size": [counts[k, c] for k, c in points], "sizemode": "area", "sizeref": 2 * counts.max() / 26**2, "sizemin": 2,
                        "color": colour, "line": {"width": 0}},
            )  # fmt: skip
    figure.update_xaxes(title="class", type="category", categoryorder="array", categoryarray=list(facts.classes))
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=labels[::-1], showgrid=True)
    return figure


def traffic(history: pd.DataFrame, at: int | None = None, rounds: int | None = None) -> go.Figure:
    """What has been sent so far, to the server and back."""
    table = with_totals(history)
    figure = _figure("MB so far")
    for column, name, colour, dash in (("megabytes_up", "up", BLUE, "solid"), ("megabytes_down", "down", ORANGE, "dot")):
        figure.add_scatter(
            x=table["index"], y=table[column], name=name, mode="lines+markers", line={"color": colour, "dash": dash},
            hovertemplate="%{y:.2f} MB<extra>" + name + "</extra>",
        )  # fmt: skip
    figure.update_yaxes(rangemode="tozero")
    return _mark(_rounds_axis(figure, rounds), at)


def spectrum(record: Round, layer: str) -> go.Figure:
    """Singular values of the ideal update and of what the server holds; the line marks the smallest rank."""
    found = record.layers[layer]
    figure = _figure("singular value")
    slots = np.arange(1, len(found.singular_values_ideal) + 1)
    for values, name, colour, symbol in (
        (found.singular_values_ideal, "ideal update", GREY, "circle-open"), (found.singular_values, "server's update", BLUE, "circle")
    ):  # fmt: skip
        figure.add_scatter(
            x=slots[: len(values)], y=np.where(np.asarray(values) > 0, values, np.nan), name=name, mode="lines+markers", line={"color": colour},
            marker={"symbol": symbol}, hovertemplate="%{y:.3g}<extra>" + name + "</extra>",
        )  # fmt: skip
    smallest = int(np.min(record.clients["rank"]))
    figure.add_vline(x=smallest + 0.5, line={"color": FAINT, "width": 1.5, "dash": "dash"}, annotation_text=f"smallest rank {smallest}", annotation_position="top right")
    figure.update_xaxes(title="direction, strongest first", range=[0.5, len(slots) + 0.5])
    return figure


def participation(record: Round, facts: RunFacts) -> go.Figure:
    """The rank of every client; those who took part in the round stand out."""
    present = {int(identity) for identity in record.clients["id"]}
    colours = rank_colours(facts.ranks)
    labels = [client_name(k) for k in range(facts.clients)]
    figure = _figure("rank")
    for rank, colour in colours.items():
        chosen = [k for k in range(facts.clients) if facts.ranks[k] == rank]
        figure.add_bar(
            x=[labels[k] for k in chosen], y=[rank] * len(chosen), name=f"rank {rank}", customdata=[facts.samples[k] for k in chosen],
            marker={"color": colour, "opacity": [1.0 if k in present else 0.25 for k in chosen], "line": {"width": 0}},
            hovertemplate="rank %{y}, %{customdata} samples<extra>%{x}</extra>",
        )  # fmt: skip
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=labels, **_ticks(labels, [label.split()[-1] for label in labels]), title="client")
    return figure


def _figure(y: str, height: int = HEIGHT) -> go.Figure:
    """An empty figure with the frame that all share."""
    figure = go.Figure()
    figure.update_layout(
        height=height, margin={"l": 8, "r": 8, "t": 34, "b": 8}, uirevision="stay", paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font={"size": 13}, hovermode="closest", dragmode=False,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "xanchor": "left", "x": 0, "title": None, "itemsizing": "constant"},
    )  # fmt: skip
    figure.update_xaxes(automargin=True, zeroline=False, title={"standoff": 8})
    figure.update_yaxes(automargin=True, zeroline=False, title={"text": y, "standoff": 8} if y else None)
    return figure


def _axis(measure: str) -> str:
    words = MEASURES[measure]
    return f"{words.title}, {words.unit}" if words.unit else words.title


def _styles(methods: Sequence[str]) -> list[dict[str, Any]]:
    """Colour by method; runs of the same method differ in dash and symbol."""
    seen: dict[str, int] = {}
    styles = []
    for method in methods:
        nth = seen.get(method, 0)
        seen[method] = nth + 1
        line = {"color": method_colour(method), "dash": DASHES[nth % len(DASHES)], "width": 2.5}
        styles.append({"line": line, "marker": {"symbol": SYMBOLS[nth % len(SYMBOLS)], "size": 7}})
    return styles


def _rounds_axis(figure: go.Figure, rounds: int | None, title: str = "Round") -> go.Figure:
    """Whole rounds on the x axis; with `rounds` it is as long as the run will be, so that nothing jumps while it runs."""
    figure.update_xaxes(title=title, tickformat="d" if title == "Round" else None)
    if rounds:
        figure.update_xaxes(range=[0.4, rounds + 0.6], dtick=1 if rounds <= 10 else None)
    return figure


def _mark(figure: go.Figure, at: int | None) -> go.Figure:
    """A line at the round that is looked at."""
    if at is not None:
        figure.add_vline(x=at, line={"color": FAINT, "width": 6}, layer="below")
    return figure


def _add_chance(figure: go.Figure, traces: Sequence[Trace], against: str) -> None:
    if traces and len(traces[0].history):
        table = with_totals(traces[0].history)
        figure.add_scatter(
            x=table[against], y=table["chance"], name="chance", mode="lines", line={"color": GREY, "dash": "dot", "width": 1.5},
            hovertemplate="%{y:.2f}<extra>random subspaces</extra>",
        )  # fmt: skip
        figure.update_yaxes(range=[0, 1.02])


def _at_least(history: pd.DataFrame, columns: list[str], least: float = 1.0) -> list[float] | None:
    """A range that shows an error of nothing as nothing, not as magnified rounding."""
    greatest = 100 * float(np.nanmax(history[columns].to_numpy(float), initial=0.0))
    return [0, least] if greatest < least else None


def _client_labels(record: Round, count: int) -> list[str]:
    return [client_name(record.clients["id"][k], record.clients["rank"][k]) for k in range(count)]


def _client_bars(record: Round, values: np.ndarray, title: str, hover: str, extra: np.ndarray) -> go.Figure:
    """One bar per client, coloured by rank."""
    labels = [str(int(identity) + 1) for identity in record.clients["id"]]
    ranks = np.asarray(record.clients["rank"])
    figure = _figure(title)
    for rank, colour in rank_colours(ranks).items():
        chosen = np.flatnonzero(ranks == rank)
        figure.add_bar(
            x=[labels[k] for k in chosen], y=np.asarray(values)[chosen], name=f"rank {rank}", marker={"color": colour, "line": {"width": 0}},
            customdata=np.asarray(extra)[chosen], hovertemplate=hover + "<extra>client %{x}, rank " + str(rank) + "</extra>",
        )  # fmt: skip
    figure.update_xaxes(type="category", categoryorder="array", categoryarray=labels, title="client")
    figure.update_yaxes(rangemode="tozero")
    return figure


def _rows_height(rows: int) -> int:
    """Height of a chart with one row per client or layer: the common one while it fits."""
    return max(HEIGHT, min(110 + 24 * rows, 1_200))


def _no_diagonal(matrix: np.ndarray) -> np.ndarray:
    """Every client agrees with itself: leave that out."""
    shown = np.array(matrix, dtype=float)
    np.fill_diagonal(shown, np.nan)
    return shown


def _ticks(labels: list[str], short: list[str], most: int = 40) -> dict[str, Any]:
    return {"tickvals": labels, "ticktext": short} if len(labels) <= most else {"nticks": 20}


def _square(figure: go.Figure, labels: list[str]) -> go.Figure:
    """Clients on both axes: full names on the rows, numbers and ranks on the columns."""
    short = [label.removeprefix("client ").replace(" (rank ", "<br>r ").rstrip(")") for label in labels]
    figure.update_xaxes(type="category", showgrid=False, **_ticks(labels, short, most=16))
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", **_ticks(labels, [label.replace("client ", "").replace("rank", "r") for label in labels], most=24))
    return figure

"""Figures of learning from rewards: the entropy thermostat, who is explored, whom the router trusts, and what it is worth."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ilora.lab.analysis.measures import MEASURES, Measure
from ilora.lab.figures.frame import BLUE, DASHES, FAINT, GREY, PALETTE, TALL, VERMILION, frame, mark, rounds_axis
from ilora.records import Round


def entropy(traces: Mapping[str, pd.DataFrame], at: int | None = None, rounds: int | None = None) -> go.Figure:
    """The entropy of each policy over the rounds, and the target as a line; traces from `ilora.lab.captions.rewards.trace`."""
    figure = _lines(traces, "entropy", "%{y:.2f} nats")
    target = next((float(trace["target"].iloc[0]) for trace in traces.values() if len(trace)), None)
    if target is not None:
        figure.add_hline(y=target, line={"color": GREY, "dash": "dash", "width": 1.5}, annotation_text="target H*")
    figure.update_yaxes(rangemode="tozero", title="entropy, nats")
    return mark(rounds_axis(figure, rounds), at)


def valve(traces: Mapping[str, pd.DataFrame], at: int | None = None, rounds: int | None = None) -> go.Figure:
    """The coefficient alpha of each run over the rounds: how far the valve is open."""
    figure = _lines(traces, "alpha", "alpha %{y:.3f}")
    figure.update_yaxes(rangemode="tozero", title="alpha")
    return mark(rounds_axis(figure, rounds), at)


def exploration(groups: np.ndarray, bonus: np.ndarray) -> go.Figure:
    """A dot for each share of right answers: its height the price of certainty, its area how many prompts; both (G + 1,)."""
    share = np.linspace(0, 100, len(groups))
    figure = frame("", legend=False)
    size = 2 * np.sqrt(groups / max(1.0, groups.max()) * 400)
    figure.add_scatter(
        x=share,
        y=bonus,
        mode="markers",
        customdata=groups,
        cliponaxis=False,
        marker={"size": size, "color": BLUE, "opacity": 0.75, "line": {"width": 0}},
        hovertemplate="%{customdata} prompts<br>%{x:.0f} % of a group right<br>lambda %{y:.3f}<extra></extra>",
    )
    figure.update_xaxes(title="right answers in the group", ticksuffix=" %", range=[-8, 108])
    figure.update_yaxes(rangemode="tozero", title="price of certainty, lambda")
    return figure


def trust_map(record: Round) -> go.Figure:
    """Where the router trusts whom: prompts on two directions, each cell the client that counts most there."""
    weights = np.asarray(record.clients["trust_map"])  # (C, cells, cells)
    empty = np.isnan(weights).all(0)
    first, most = np.where(empty, np.nan, np.nan_to_num(weights).argmax(0)), np.nan_to_num(weights).max(0)
    names = np.array([str(int(k) + 1) for k in record.clients["id"]])
    text = np.where(empty, "", names[np.nan_to_num(first).astype(int)])
    figure = frame("", height=TALL, legend=False)
    figure.add_heatmap(
        z=np.where(empty, np.nan, most),
        text=text,
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        colorbar={"title": "trust", "tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
        hovertemplate="client %{text}, trusted with %{z:.0%}<extra></extra>",
    )
    figure.update_xaxes(title="first principal direction of the features", showticklabels=False, showgrid=False)
    figure.update_yaxes(title="second principal direction", showticklabels=False, showgrid=False)
    return figure


def ladder(scores: Mapping[str, float], words: Measure = MEASURES["accuracy"]) -> go.Figure:
    """Test score of the policy under each reward, and of learning from labels with as many forward passes."""
    figure = frame("", legend=False)
    colours = [VERMILION if name.startswith("Supervised") else BLUE for name in scores]
    figure.add_bar(
        x=[words.scale * value for value in scores.values()],
        y=list(scores),
        orientation="h",
        marker={"color": colours, "line": {"width": 0}},
        text=[words.show(value) for value in scores.values()],
        textposition="auto",
        hovertemplate="%{text}<extra>%{y}</extra>",
    )
    least = min(0.0, *(words.scale * value for value in scores.values()))  # a correlation may be negative
    figure.update_xaxes(range=[1.09 * least, 1.09 * words.scale], gridcolor=FAINT, showgrid=True, title=words.name)
    figure.update_xaxes(ticksuffix=f" {words.unit}" if words.unit else None)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def _lines(traces: Mapping[str, pd.DataFrame], column: str, hover: str) -> go.Figure:
    """One line per run; the first, the one that is looked at, in full strength, the others as ghosts."""
    figure = frame("")
    for i, (name, trace) in enumerate(traces.items()):
        line = {"color": PALETTE[i % len(PALETTE)], "width": 3 if i == 0 else 1.5, "dash": DASHES[i % len(DASHES)]}
        hovertemplate = f"{hover}<extra>{name}</extra>"
        opacity = 1.0 if i == 0 else 0.7
        figure.add_scatter(
            x=trace["index"],
            y=trace[column],
            name=name,
            mode="lines+markers",
            line=line,
            opacity=opacity,
            hovertemplate=hovertemplate,
        )
    return figure

"""Figures of aggregation rules on one set of uploads."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from ilora.lab.captions.words import percent
from ilora.lab.figures.frame import BLUE, FAINT, GREEN, ORANGE, VERMILION, frame, mark
from ilora.methods.ingredients import INGREDIENTS

if TYPE_CHECKING:
    from ilora.lab.analysis.rule_comparison import Outcome

CUT_STYLES = {"QR": (VERMILION, "solid", "circle"), "pivoted QR": (ORANGE, "dash", "square"), "SVD": (GREEN, "dot", "diamond")}


def rule_errors(outcomes: Sequence["Outcome"], own: str = "") -> go.Figure:
    """What every rule loses at the server, bars, and at the client of the smallest rank, diamonds; `own` is marked."""
    labels = [f"{rule_label(found.rule, own)}  <b>{percent(found.server)}</b>" for found in outcomes]
    figure = frame("", height=90 + 34 * len(outcomes))
    figure.add_bar(
        x=[100 * found.server for found in outcomes],
        y=labels,
        orientation="h",
        name="at the server",
        marker={"color": [VERMILION if found.rule == own else BLUE for found in outcomes], "line": {"width": 0}},
        customdata=np.array([[100 * found.averaging, 100 * found.truncation] for found in outcomes]),
        hovertemplate="%{x:.2f} % of the ideal update<br>averaging %{customdata[0]:.2f} %, truncation %{customdata[1]:.2f} %"
        "<extra>%{y}</extra>",
    )
    figure.add_scatter(
        x=[100 * found.smallest for found in outcomes],
        y=labels,
        mode="markers",
        name="at the client of the smallest rank",
        marker={"color": ORANGE, "size": 10, "symbol": "diamond"},
        cliponaxis=False,  # 0 is drawn whole
        hovertemplate="%{x:.2f} % after the broadcast<extra>%{y}</extra>",
    )
    greatest = max(100 * max(found.server, found.smallest) for found in outcomes)
    figure.update_xaxes(ticksuffix=" %", range=[0, max(100, 1.05 * min(greatest, 200))], showgrid=True)
    figure.update_yaxes(ticklabelstandoff=8, autorange="reversed", showgrid=False)
    return figure


def rule_label(rule: str, own: str = "") -> str:
    """A rule's name, and that it is the run's own."""
    return INGREDIENTS["aggregate"][rule].title + (" (this run's)" if rule == own else "")


def truncation(errors: Mapping[str, Sequence[float]], rank: int, smallest: int) -> go.Figure:
    """What is left out by keeping the first r slots of three factorisations; the lines mark the two ranks that matter."""
    figure = frame("%")
    for name, curve in errors.items():
        colour, dash, symbol = CUT_STYLES[name]
        figure.add_scatter(
            x=list(range(1, len(curve) + 1)),
            y=[100 * value for value in curve],
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash},
            marker={"symbol": symbol, "size": 7},
            hovertemplate=f"%{{x}} slots of {name} leave out %{{y:.1f}} %<extra></extra>",
        )
    most = max(len(curve) for curve in errors.values())
    mark(mark(figure, rank), smallest)
    for at, words in {smallest: "smallest rank", rank: "server's rank"}.items():
        figure.add_annotation(
            x=at, y=1, yref="paper", text=words, showarrow=False, xanchor="left", yanchor="top", font={"size": 11}
        )
    figure.update_xaxes(
        title="slots kept", dtick=1 if most <= 8 else 2 if most <= 16 else None, tickformat="d", range=[0.5, most + 0.5]
    )
    figure.update_yaxes(rangemode="tozero", zeroline=True, zerolinecolor=FAINT)
    return figure

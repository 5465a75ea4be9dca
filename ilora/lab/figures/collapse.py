"""Figures of rank collapse: which directions the server's update uses, and who may write into which slot."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ilora.lab.figures.frame import BLUE, FAINT, GREEN, GREY, HEIGHT, VERMILION, frame, mark, rounds_axis
from ilora.records import Array, LayerRecord

WEAKEST = 1e-3  # of the strongest direction: what is weaker has the palest colour
LINES = (("server's update", "", BLUE, "solid"), ("ideal update", "_ideal", GREY, "dot"))


def spectra_over_rounds(series: Mapping[str, Array], at: int, smallest: int) -> go.Figure:
    """Singular values round by round, each as a share of the strongest: the ideal update, and what the server broadcasts."""
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.08, shared_yaxes=True, subplot_titles=("ideal", "broadcast"))
    strongest = np.maximum(series["singular_values_ideal"].max(1), 1e-12)[:, None]
    for column, name in enumerate(("singular_values_ideal", "singular_values"), start=1):
        shares = np.maximum(series[name] / strongest, WEAKEST / 10)
        figure.add_heatmap(
            x=series["index"],
            y=list(range(1, shares.shape[1] + 1)),
            z=np.log10(shares.T),
            customdata=100 * shares.T,
            zmin=np.log10(WEAKEST),
            zmax=0,
            showscale=column == 2,
            colorbar={
                "thickness": 12, "len": 1, "outlinewidth": 0, "tickvals": [0, -1, -2, -3],
                "ticktext": ["100 %", "10 %", "1 %", "0.1 %"],
            },
            hovertemplate="round %{x}, direction %{y}: %{customdata:.1f} % of the strongest<extra></extra>",
            row=1,
            col=column,
        )  # fmt: skip
        figure.add_hline(y=smallest + 0.5, line={"color": VERMILION, "width": 2}, row=1, col=column)
        figure.add_vline(x=at, line={"color": FAINT, "width": 2}, row=1, col=column)
    figure.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, tickformat="d")
    figure.update_yaxes(title="direction", col=1)
    few = len(series["index"]) <= 10
    figure.update_xaxes(title="Round", tickformat="d", dtick=1 if few else None, showgrid=False, zeroline=False)
    figure.update_layout(frame("", height=340, legend=False).layout)
    figure.update_layout(margin={"t": 34})
    return figure.update_xaxes(automargin=True, title={"standoff": 8})


def energy_over_rounds(series: Mapping[str, Array], at: int, rounds: int) -> go.Figure:
    """How much of the update the smallest rank can hold, the ideal one and the server's."""
    figure = _two_lines(series, "energy_share", "%", 100, "%{y:.1f} %")
    figure.update_yaxes(range=[0, 102])
    return mark(rounds_axis(figure, rounds), at)


def effective_rank_over_rounds(series: Mapping[str, Array], at: int, rounds: int, smallest: int) -> go.Figure:
    """How many directions the update uses, the ideal one and the server's; the line is the smallest rank."""
    figure = _two_lines(series, "effective_rank", "", 1, "%{y:.1f} directions")
    figure.add_hline(y=smallest, line={"color": VERMILION, "width": 1.5, "dash": "dash"})
    figure.update_yaxes(rangemode="tozero")
    return mark(rounds_axis(figure, rounds), at)


def coverage(found: LayerRecord, smallest: int) -> go.Figure:
    """Weight of the clients that own each slot: what a slot's content is averaged from."""
    slots = list(range(1, len(found.coverage) + 1))
    figure = frame("%", height=HEIGHT, legend=False)
    colours = [GREEN if slot <= smallest else BLUE for slot in slots]
    hover = "slot %{x}: clients with %{y:.0f} % of the weight own it<extra></extra>"
    figure.add_bar(x=slots, y=100 * found.coverage, marker={"color": colours, "line": {"width": 0}}, hovertemplate=hover)
    figure.add_vline(x=smallest + 0.5, line={"color": VERMILION, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title="slot", dtick=1 if len(slots) <= 20 else None, tickformat="d")
    figure.update_yaxes(range=[0, 102])
    return figure


def _two_lines(series: Mapping[str, Array], field: str, unit: str, factor: float, hover: str) -> go.Figure:
    figure = frame(unit)
    for name, ending, colour, dash in LINES:
        line = {"color": colour, "dash": dash, "width": 2.5}
        y = factor * series[field + ending]
        text = f"{hover}<extra>{name}</extra>"
        figure.add_scatter(
            x=series["index"], y=y, name=name, mode="lines+markers", line=line, marker={"size": 6}, hovertemplate=text
        )
    return figure

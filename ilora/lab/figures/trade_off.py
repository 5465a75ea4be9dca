"""Two measures against each other: who is beaten in both, and the line of those who are not."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import plotly.graph_objects as go

from ilora.lab.analysis.measures import measure_of
from ilora.lab.analysis.significance import Array, dominators
from ilora.lab.figures.frame import CLEAR, GREY, SYMBOLS, TALL, frame, method_style

FRONT = "nobody is better in both<extra></extra>"


def trade_off(names: Sequence[str], methods: Sequence[str], points: Array, halves: Array, measures: tuple[str, str]) -> go.Figure:
    """One point per entrant: points (n, 2) of two measures, halves (n, 2) of their 95 % intervals, NaN where there is none.

    Dominated points are hollow; the line joins the others.
    """
    first, second = (measure_of(name) for name in measures)
    figure = frame(second.unit, TALL)
    scale = np.array([first.scale, second.scale])
    at, wide = points * scale, np.nan_to_num(halves * scale)
    beaten = dominators(points, (first.better == "higher", second.better == "higher"))
    front = at[[by is None for by in beaten]]
    front = front[np.argsort(front[:, 0])]
    line = {"color": GREY, "width": 1.5, "dash": "dot"}
    figure.add_scatter(x=front[:, 0], y=front[:, 1], mode="lines", line=line, showlegend=False, hovertemplate=FRONT, name="front")
    for name, method, (x, y), (dx, dy), by, symbol in zip(names, methods, at, wide, beaten, cycle(SYMBOLS), strict=False):
        colour = method_style(method)[0]
        hover = f"{first.show(x / first.scale)}, {second.show(y / second.scale)}<extra>{name}</extra>"
        figure.add_scatter(
            x=[x], y=[y], name=name, mode="markers", hovertemplate=hover,
            marker={"size": 12, "symbol": symbol, "line": {"color": colour, "width": 2}},
            marker_color=colour if by is None else CLEAR,
            error_x={"array": [dx], "color": colour, "visible": bool(dx)},
            error_y={"array": [dy], "color": colour, "visible": bool(dy)},
            cliponaxis=False,
        )  # fmt: skip
    figure.update_xaxes(title=_axis(first.title, first.unit))
    figure.update_yaxes(title=second.title)
    return figure


def _axis(title: str, unit: str) -> str:
    return f"{title}, {unit}" if unit else title

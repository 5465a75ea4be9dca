"""One round as a picture: the server above, the clients below, and what passes between them in each phase."""

import plotly.graph_objects as go

from ilora.lab.figures.clients import draw_box, draw_client
from ilora.lab.figures.frame import BLUE, FAINT, GREEN, ORANGE, frame, rank_colours
from ilora.records import Round, RunFacts

PHASES = ("broadcast", "train", "upload", "merge")
ARROWS = {"broadcast": (BLUE, "start"), "upload": (ORANGE, "end")}  # colour, and where the head is, seen from the client
STORY_HEIGHT = 360


def story(record: Round, facts: RunFacts, phase: str, accuracy: float | None) -> go.Figure:
    """A phase of a round; the server's box is filled as far as its model is right (0..1; None before any training)."""
    ranks, greatest = [int(rank) for rank in facts.ranks], int(max(facts.ranks))
    colours, count = rank_colours(facts.ranks), facts.clients
    figure = frame("", height=STORY_HEIGHT, legend=False)
    for k, rank in enumerate(ranks):
        x, half = (k + 0.5) * 10 / count, min(0.42, 3 / count)
        draw_client(figure, x, half, 0.06 + 0.26 * rank / greatest, colours[rank])
        figure.add_annotation(x=x, y=0.0, text=f"rank {rank}" if count <= 6 else f"r {rank}", showarrow=False, yanchor="top")
        if phase in ARROWS:
            _add_arrow(figure, x, float(record.clients["weight"][k]) * count, *ARROWS[phase])
        if phase == "train":
            draw_box(figure, (x - half, x + half), (0.15, 1.15), "rgba(0,158,115,0.25)", GREEN)
    _draw_server(figure, accuracy, phase)
    figure.update_xaxes(visible=False, range=[0, 10], fixedrange=True)
    figure.update_yaxes(visible=False, range=[-0.4, 4.3], fixedrange=True)
    return figure


def _draw_server(figure: go.Figure, accuracy: float | None, phase: str) -> None:
    """A box with its model's accuracy as a bar in it; its edge is strong while it merges."""
    draw_box(figure, (2.2, 7.8), (3.1, 3.95), "rgba(0,114,178,0.08)", GREEN if phase == "merge" else BLUE)
    draw_box(figure, (2.2, 2.2 + 5.6 * (accuracy or 0)), (3.1, 3.3), GREEN)
    text = "server: nothing learned yet" if accuracy is None else f"server: {100 * accuracy:.0f} % right"
    figure.add_annotation(x=5, y=3.62, text=text, showarrow=False)


def _add_arrow(figure: go.Figure, x: float, share: float, colour: str, head: str) -> None:
    """From a client to the server or back, as wide as the client counts: 1 is an average one."""
    tip, tail = ((x, 1.95), (5 + (x - 5) * 0.25, 3.0))[:: 1 if head == "start" else -1]
    figure.add_annotation(
        x=tip[0], y=tip[1], ax=tail[0], ay=tail[1], xref="x", yref="y", axref="x", ayref="y", text="",
        showarrow=True, arrowhead=2, arrowsize=0.8, arrowwidth=min(5.0, 1.5 + 1.5 * share), arrowcolor=colour,
    )  # fmt: skip
    figure.add_shape(type="line", x0=x, y0=1.95, x1=5 + (x - 5) * 0.25, y1=3.0, line={"color": FAINT, "width": 1, "dash": "dot"})

"""Leaving a client out by a click on it in a chart: the same setting as the list in the form, which is the keyboard's way."""

import plotly.graph_objects as go
import streamlit as st

from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.captions import rounds
from ilora.lab.captions.words import client_name
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.catalogue import reading
from ilora.lab.dashboard.charts.view import Chart, View
from ilora.lab.dashboard.controls.experiment_form import CURRENT, LEFT_OUT
from ilora.records import main_score

CHANGED, MADE = "leaving.changed", "leaving.made"
HINT = (
    "Click a client in a chart to leave it out of the next run, or to take it back. Hollow: left out."
    " By keyboard: **Leave out** in the settings."
)


def left_out() -> tuple[int, ...]:
    """The clients that the settings leave out, counted from 0."""
    return tuple(st.session_state.get(LEFT_OUT, ()))


def changed() -> bool:
    """Whether a click has changed the settings since this was asked last: the form has to be drawn anew."""
    return bool(st.session_state.pop(CHANGED, False))


def toggle(client: int) -> None:
    """Leave a client out, or take it back; where that cannot be, say why."""
    known = len((st.session_state.get(CURRENT) or Experiment()).client_ranks)
    chosen = set(left_out()) ^ {client}
    name = client_name(client).capitalize()
    if client >= known:
        st.toast(f"{name} is not among the {known} clients of the settings.", icon=":material/info:")
    elif len(chosen) == known:
        st.toast(f"{name} stays: it is the last one that takes part.", icon=":material/info:")
    else:
        st.session_state[LEFT_OUT], st.session_state[CHANGED] = sorted(chosen), True


def client_chart(name: str, view: View) -> None:
    """A chart of the catalogue; where it shows clients, a click on one leaves it out."""
    chart = reading(name, main_score(view.history.columns))
    figure, sentence = _made_once(name, view, chart)
    draw(f"chart.{name}", chart.title, figure, sentence, chart, toggle if figures.shows_clients(figure) else None)


def _made_once(name: str, view: View, chart: Chart) -> tuple[go.Figure, str]:
    """A chart's figure and sentence, made anew only when another thing is looked at: a live page draws every second."""
    run, ghost = view.run, view.ghost
    shown = (run.id, run.name, run.done, view.at, view.layer, ghost and (ghost.id, ghost.name, ghost.done), left_out())
    made = st.session_state.setdefault(MADE, {})
    if name not in made or made[name][0] != shown:
        figure, sentence = chart.figure(view), chart.sentence(view)
        if figures.shows_clients(figure):
            figure = figures.hollow(figure, left_out())
            sentence += rounds.left_out(run.experiment.left_out, left_out())
        made[name] = shown, figure, sentence
    return made[name][1:]

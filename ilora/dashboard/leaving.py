"""Leaving a client out by a click on it in a chart: the same setting as the list in the form, which is the keyboard's way."""

import streamlit as st

from ilora import figures, sentences
from ilora.dashboard.blocks import draw
from ilora.dashboard.charts import reading
from ilora.dashboard.form import CURRENT, LEFT_OUT
from ilora.dashboard.view import View
from ilora.experiment import Experiment
from ilora.records import main_score

CHANGED = "leaving.changed"
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
    name = sentences.client_name(client).capitalize()
    if client >= known:
        st.toast(f"{name} is not among the {known} clients of the settings.", icon=":material/info:")
    elif len(chosen) == known:
        st.toast(f"{name} stays: it is the last one that takes part.", icon=":material/info:")
    else:
        st.session_state[LEFT_OUT], st.session_state[CHANGED] = sorted(chosen), True


def client_chart(name: str, view: View) -> None:
    """A chart of the catalogue; where it shows clients, a click on one leaves it out."""
    chart = reading(name, main_score(view.history.columns))
    figure, sentence = chart.figure(view), chart.sentence(view)
    if not figures.shows_clients(figure):
        draw(f"chart.{name}", chart.title, figure, sentence, chart)
        return
    sentence += sentences.left_out(view.run.experiment.left_out, left_out())
    draw(f"chart.{name}", chart.title, figures.hollow(figure, left_out()), sentence, chart, toggle)

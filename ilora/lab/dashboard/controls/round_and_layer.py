"""The lens: which section, round and layer of a run the charts show."""

from collections.abc import Sequence
from typing import NamedTuple

import streamlit as st

from ilora.lab.captions.words import layer_names
from ilora.lab.dashboard.charts.catalogue import BY_LAYER, SECTIONS
from ilora.lab.runs.store import Run

SIDES = {"columns": "Columns (B)", "rows": "Rows (A)"}


class Lens(NamedTuple):
    """What is looked at."""

    section: str
    round: int
    layer: str


def look(run: Run, layers: Sequence[str]) -> Lens:
    """Draw the controls and return where they stand."""
    section = _one_of("Look at", "section", {name: name for name in SECTIONS}, hidden=True)
    left, right = st.columns(2)
    with left:
        at = _round_slider(run)
    layer = next(iter(layers), "")
    with right:
        if len(layers) > 1 and BY_LAYER & set(SECTIONS[section]):
            layer = _layer_slider(layers)
    return Lens(section, at, layer)


def _one_of(label: str, key: str, titles: dict[str, str], *, hidden: bool = False) -> str:
    """A row of buttons of which one is always pressed."""
    first = next(iter(titles))
    if st.session_state.get(key) not in titles:
        st.session_state[key] = first
    chosen = st.segmented_control(
        label,
        list(titles),
        key=key,
        format_func=titles.__getitem__,
        label_visibility="collapsed" if hidden else "visible",
        required=True,
        persist_state="session",
    )
    return str(chosen or first)


def _round_slider(run: Run) -> int:
    """The round that is looked at: the newest one until the user moves the slider, and again once it is moved to the end.

    While it follows, each new round brings a slider of its own: what a browser sends along that has not drawn it yet then says
    nothing about it, instead of looking like a move back.
    """
    if run.rounds == 1:
        return 1
    state = st.session_state
    shown, follow, newest, anchor = (f"{name}.{run.id}" for name in ("round", "follow", "newest", "anchor"))
    if state.get(follow, True) or shown not in state:
        state[shown] = run.done
        if state.get(newest) != run.done:
            state[anchor] = run.done
    state[newest] = run.done
    key = f"{shown}.{state.get(anchor)}"
    state[key] = state[shown]

    def moved() -> None:
        state[shown], state[follow] = state[key], state[key] >= run.done

    at = st.slider("Round", 1, run.rounds, key=key, on_change=moved, help="Travel in time: every chart shows this round.")
    return min(int(at), run.done)


def _layer_slider(layers: Sequence[str]) -> str:
    """The adapted layer that is looked at."""
    names = layer_names(layers)
    if st.session_state.get("layer") not in layers:
        st.session_state["layer"] = layers[0]
    about = "The adapted layer that alignment, angles, drift and directions are shown for."
    return str(
        st.select_slider(
            "Layer", layers, key="layer", format_func=lambda layer: names.get(layer, layer), help=about, persist_state="session"
        )
    )

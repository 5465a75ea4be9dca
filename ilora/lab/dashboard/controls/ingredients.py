"""The ingredient switchboard: one choice per stage of a round, made from INGREDIENTS and their options."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from ilora.lab.content.glossary import explain
from ilora.methods import METHODS, options_of, resolve
from ilora.methods.ingredient import Option
from ilora.methods.ingredients import INGREDIENTS, STAGES

MODES = {
    "corrected": "The default: the paper's algorithm with its bookkeeping right. The authors' own form stands beside it as"
    " Official.",
    "paper": "The formulas as the paper prints them. They move the model before anything is learned.",
    "official": "The authors' code, literally. It moves the model before anything is learned.",
}
QUESTIONS = {
    "initialise": "Where do the factors start?",
    "sharing": "What is trained and sent?",
    "objective": "What does a client minimise?",
    "correction": "How is its gradient corrected?",
    "upload": "What happens before the upload?",
    "weighting": "How much does a client count?",
    "aggregate": "How do many updates become one?",
    "server": "What does the server do with it?",
}


def mode_control(method: str) -> str:
    """The method's mode; empty for a method without modes."""
    modes = list(METHODS[method].modes)
    if not modes:
        return ""
    key = _key(method, "", "mode")
    st.session_state.setdefault(key, modes[0])
    chosen = st.segmented_control(
        "Mode", modes, key=key, format_func=str.capitalize, required=True, help=explain("mode"), persist_state="session"
    )
    if chosen in MODES:
        st.caption(MODES[chosen])
    return str(chosen or modes[0])


def switchboard(method: str, mode: str) -> dict[str, Any]:
    """Draw the stages that offer a choice; returns the options in which the user departs from the method."""
    own = resolve(method, {"mode": mode} if mode else {})
    ingredients, drawn = dict(own.ingredients), set()
    for stage in STAGES:
        if len(INGREDIENTS[stage]) > 1:
            ingredients[stage] = _stage_control(method, mode, stage, own.ingredients[stage])
        for name, option in INGREDIENTS[stage][ingredients[stage]].options.items():
            if name not in drawn:  # two ingredients may share a setting
                drawn.add(name)
                _option_control(_key(method, mode, name), name, option, own.options.get(name, option.default))
    chosen = {stage: key for stage, key in ingredients.items() if key != own.ingredients[stage]}
    for name, option in options_of(ingredients).items():
        value = st.session_state[_key(method, mode, name)]
        if value != own.options.get(name, option.default):
            chosen[name] = value
    return ({"mode": mode} if mode and mode != next(iter(METHODS[method].modes)) else {}) | chosen


def fill_switchboard(method: str, options: Mapping[str, Any]) -> None:
    """Set the controls of a method to an experiment's options."""
    mode = options.get("mode", next(iter(METHODS[method].modes), ""))
    for key in [key for key in st.session_state if str(key).startswith(f"option.{method}.")]:
        del st.session_state[key]
    for name, value in {**options, "mode": mode}.items():
        st.session_state[_key(method, "" if name == "mode" else mode, name)] = value


def _key(method: str, mode: str, name: str) -> str:
    return f"option.{method}.{mode}.{name}"


def _stage_control(method: str, mode: str, stage: str, default: str) -> str:
    offered = INGREDIENTS[stage]
    key = _key(method, mode, stage)
    st.session_state.setdefault(key, default)
    chosen: str = st.selectbox(
        QUESTIONS[stage], list(offered), key=key, format_func=lambda name: offered[name].title, persist_state="session"
    )
    st.caption(offered[chosen].idea)
    return chosen


def _option_control(key: str, name: str, option: Option, default: Any) -> None:
    """One setting of an ingredient, as the kind of control that fits its values."""
    st.session_state.setdefault(key, default)
    label, about = name.replace("_", " ").capitalize(), option.about.capitalize() + "."
    if isinstance(default, bool):
        st.toggle(label, key=key, help=about, persist_state="session")
    elif option.values:
        st.selectbox(label, option.values, key=key, help=about, persist_state="session")
    else:
        kind = type(default)
        least, greatest = (None if limit is None else kind(limit) for limit in (option.least, option.greatest))
        st.number_input(label, least, greatest, key=key, help=about, persist_state="session")

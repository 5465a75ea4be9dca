"""Two ways to ask the playground a question: a scenario with what to watch, and a sweep over one setting.

A setting is swept from the popover, or by pressing its name in the form.
"""

from typing import Any

import streamlit as st

from ilora.checks import FieldError, settings_of
from ilora.experiment import Experiment
from ilora.lab.content.scenarios import SCENARIOS
from ilora.lab.dashboard.controls.experiment_form import PROFILES, SKEW_NAMES, fill
from ilora.lab.dashboard.controls.form_field import PRESSED
from ilora.lab.dashboard.run_group import new_group, open_comparison, refusal_kept, show_refusal, submit

SCENARIO, SETTING = "scenario", "sweep.setting"
MOST = 6  # runs of one sweep
SWEEPS = {name: own for name, own in settings_of(Experiment).items() if own.sweep}  # what has values worth trying


def scenario_picker() -> None:
    """Presets, each with what to watch; choosing one sets every control."""
    chosen = st.selectbox(
        "Scenario",
        list(SCENARIOS),
        index=None,
        key=SCENARIO,
        format_func=lambda name: SCENARIOS[name].title,
        placeholder="Start from a scenario, or set everything yourself",
        on_change=_take,
        persist_state="session",
    )
    if chosen:
        st.info(f"**Watch this.** {SCENARIOS[chosen].watch}", icon=":material/visibility:")


def _take() -> None:
    if chosen := st.session_state.get(SCENARIO):
        fill(SCENARIOS[chosen].experiment)


def sweep(experiment: Experiment | None) -> None:
    """A popover in which a click on a setting's name starts one run for each of some of its values."""
    with st.popover("Sweep", icon=":material/linear_scale:", disabled=experiment is None, key="sweep"):
        st.markdown(
            "Choose a setting and its values; each value gets one run, everything else stays the same, and they are compared."
        )
        names = list(SWEEPS)
        setting = st.pills(
            "Setting", names, key=SETTING, format_func=lambda name: SWEEPS[name].title, label_visibility="collapsed"
        )
        if setting and experiment is not None:
            _values(setting, experiment, "sweep")


def sweep_pressed(experiment: Experiment | None) -> None:
    """The same for the setting whose name was pressed in the form, until it is closed."""
    setting, about = st.session_state.get(PRESSED, ("", ""))
    if setting and experiment is None:
        _close()
        st.toast("Fix the marked setting first.", icon=":material/error:")
    elif setting and experiment is not None:
        dialog = st.dialog(f"Sweep: {SWEEPS[setting].title}", icon=":material/linear_scale:", on_dismiss=_close)
        dialog(_explained)(setting, about, experiment)


def _close() -> None:
    st.session_state.pop(PRESSED, None)


def _explained(setting: str, about: str, experiment: Experiment) -> None:
    """The sweep with the setting's explanation above it."""
    st.markdown(about)
    st.markdown("Each value gets one run, everything else stays the same, and they are compared.")
    _values(setting, experiment, "pressed")


def _values(setting: str, experiment: Experiment, key: str) -> None:
    """Which values of the setting to try, and the button that starts a run for each."""
    offered = values_of(setting, experiment)
    if st.session_state.get(f"{key}.for") != (setting, offered):
        st.session_state[f"{key}.for"], st.session_state[f"{key}.values"] = (setting, offered), offered[:MOST]
    values = st.multiselect(
        f"Values of {SWEEPS[setting].called}",
        offered,
        key=f"{key}.values",
        format_func=lambda value: show(setting, value),
        max_selections=MOST,
    )
    if st.button("Run the sweep", key=f"{key}.run", type="primary", disabled=len(values) < 2, icon=":material/play_arrow:"):
        _start(experiment, setting, values)


def values_of(setting: str, experiment: Experiment) -> list[Any]:
    """The values worth trying, and the experiment's own; only those with which it remains valid."""
    own, tried = getattr(experiment, setting), SWEEPS[setting].sweep
    everything = [*tried, own] if own not in tried and not isinstance(own, tuple) else list(tried)
    ordered = everything if isinstance(everything[0], str) else sorted(everything)
    return [value for value in ordered if _valid(experiment, setting, value)]


def show(setting: str, value: Any) -> str:
    """A value as the screen calls it."""
    return {"ranks": PROFILES, "skew": SKEW_NAMES}.get(setting, {}).get(value, str(value))


def variants(experiment: Experiment, setting: str, values: list[Any]) -> dict[str, Experiment]:
    """The experiment once for each value, by the name that its run gets."""
    return {f"{SWEEPS[setting].called}: {show(setting, value)}": changed(experiment, setting, value) for value in values}


def changed(experiment: Experiment, setting: str, value: Any) -> Experiment:
    """The experiment with another value; with a rank profile the number of clients stays."""
    if setting == "clients" and not isinstance(experiment.ranks, str):
        sentence = "clients: with a list of ranks it is the list that says how many."
        raise FieldError("clients", value, "what the list of ranks says", sentence)
    return experiment.replace(**{setting: value})


def _valid(experiment: Experiment, setting: str, value: Any) -> bool:
    try:
        changed(experiment, setting, value)
    except FieldError:
        return False
    return True


def _start(experiment: Experiment, setting: str, values: list[Any]) -> None:
    """Put the runs into the queue and go to where they are compared."""
    group = new_group("sweep")
    with refusal_kept():
        ids = [submit(each, name, group=group) for name, each in variants(experiment, setting, values).items()]
        _close()
        open_comparison(ids)
    show_refusal()

"""Alignment: can a reward teach as well as a label?"""

import streamlit as st

from ilora.dashboard import link, rewarding
from ilora.dashboard.form import experiment_form
from ilora.dashboard.navigation import title

KINDS = {"aer": "An entropy thermostat", "mor": "A router of rewards"}

title("Can a reward teach as well as a label?")
st.markdown(
    "The model is a **policy**: it answers, and is told only how good the answer was. Methods that learn this way are not ranked"
    " with those that see the label."
)
with st.sidebar:
    experiment = experiment_form(with_method=False)
kind = st.segmented_control(
    "Look at",
    list(KINDS),
    format_func=KINDS.__getitem__,
    default="aer",
    required=True,
    key="alignment.kind",
    persist_state="session",
)
rewarding.about(kind)
runs = rewarding.newest(kind)
busy = any(run.active for run in runs.values())
started = st.button(
    f"Run all {len(rewarding.VARIANTS[kind])} variants",
    type="primary",
    icon=":material/play_arrow:",
    key=f"alignment.run.{kind}",
    shortcut="Shift+Enter",
    disabled=busy or experiment is None,
    help="One run for each, on the same seed, clients and batches, with the settings on the left.",
)
if started and experiment:
    rewarding.start(rewarding.variants(experiment, kind), kind)
    st.rerun()
if refused := st.session_state.pop(rewarding.REFUSED, ""):
    st.error(refused, icon=":material/error:")
link.publish(experiment)
if runs:
    rewarding.view(kind)
else:
    st.info("Nothing has been run yet. Thirty rounds show the thermostat at work; eight are enough for the router.")

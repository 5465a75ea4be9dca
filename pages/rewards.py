"""Rewards: can a reward teach as well as a label?"""

import streamlit as st

from ilora.lab.dashboard import url
from ilora.lab.dashboard.controls.experiment_form import experiment_form
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.run_group import active, show_refusal
from ilora.lab.dashboard.views import rewards

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
    key="rewards.kind",
    persist_state="session",
)
rewards.about(kind)
runs = rewards.newest(kind)
started = st.button(
    f"Run all {len(rewards.VARIANTS[kind])} variants",
    type="primary",
    icon=":material/play_arrow:",
    key=f"rewards.run.{kind}",
    shortcut="Shift+Enter",
    disabled=active(runs.values()) or experiment is None,
    help="One run for each, on the same seed, clients and batches, with the settings on the left.",
)
if started and experiment:
    rewards.start(rewards.variants(experiment, kind), kind)
    st.rerun()
show_refusal()
url.publish(experiment)
if runs:
    rewards.view(kind)
else:
    st.info("Nothing has been run yet. Thirty rounds show the thermostat at work; eight are enough for the router.")

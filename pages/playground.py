"""Playground: what happens if ...?"""

import streamlit as st

from ilora.dashboard import lab, link
from ilora.dashboard.asking import SWEEPS, scenario_picker, sweep, sweep_pressed
from ilora.dashboard.form import experiment_form
from ilora.dashboard.live import current_run, live_view, pinned
from ilora.dashboard.navigation import title

title("What happens if …?")
lab.store()  # opens the store and warms a worker while the page is drawn
run_id = current_run()
left, right = st.columns([4, 1], vertical_alignment="bottom")
with left:
    question = st.container()
with right:
    swept = st.container()
with question:
    scenario_picker()
with st.sidebar:
    experiment = experiment_form(pressable=SWEEPS)
with swept:
    sweep(experiment)
link.publish(experiment, run=run_id, ghost=pinned())
sweep_pressed(experiment)
live_view(experiment)

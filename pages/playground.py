"""Playground: what happens if ...?"""

import streamlit as st

from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.controls.experiment_form import experiment_form
from ilora.lab.dashboard.controls.run_explorer import say_missing
from ilora.lab.dashboard.controls.sweep import SWEEPS, scenario_picker, sweep, sweep_pressed
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.playground import current_run, live_view, pinned

title("What happens if …?")
data_access.store()  # opens the store and warms a worker while the page is drawn
run_id = current_run()
say_missing([run_id, pinned()])
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
url.publish(experiment, run=run_id, ghost=pinned())
sweep_pressed(experiment)
live_view(experiment)

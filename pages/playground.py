"""Playground: what happens if ...?"""

import streamlit as st

from ilora.dashboard import lab, link
from ilora.dashboard.form import experiment_form
from ilora.dashboard.live import current_run, live_view
from ilora.dashboard.navigation import title

title("What happens if …?")
lab.store()  # opens the store and warms a worker while the page is drawn
run_id = current_run()
with st.sidebar:
    experiment = experiment_form()
link.publish(experiment, run=run_id)
live_view(experiment)

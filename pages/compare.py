"""Compare: which method does better on the same clients?"""

import streamlit as st

from ilora.checks import FieldError
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.charts.block import welcome_picture
from ilora.lab.dashboard.controls.experiment_form import experiment_form
from ilora.lab.dashboard.controls.run_explorer import say_missing
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.run_group import active, show_refusal
from ilora.lab.dashboard.views import compare, compare_start
from ilora.methods import METHODS

title("Which method does better?")
data_access.store()
say_missing(url.asked("runs").split(","))
runs = compare_start.compared_runs()
with st.sidebar:
    experiment = experiment_form(with_method=False)

st.session_state.setdefault("compare.methods", list(METHODS)[: compare_start.FIRST])
offered = compare_start.choices()
left, right = st.columns([4, 1])
chosen = left.multiselect(
    "Methods",
    list(offered),
    key="compare.methods",
    format_func=offered.__getitem__,
    persist_state="session",
    help="Two to eight. All of them get the settings on the left: the same seed, clients and batches.",
)
seeds = right.number_input(
    "Seeds",
    1,
    compare_start.MOST_SEEDS,
    key="compare.seeds",
    persist_state="session",
    help="Every method under so many seeds, from the one on the left. With two or more, differences are tested.",
)
problem, entrants = "", []
if experiment:
    try:
        entrants = compare_start.entrants(experiment, chosen, seeds)
    except FieldError as error:
        problem = str(error)
if problem:
    st.markdown(f":red[:material/error: {problem}]")
started = st.button(
    "Run all",
    type="primary",
    icon=":material/play_arrow:",
    key="compare.run",
    shortcut="Shift+Enter",
    disabled=active(runs) or not entrants,
    help="Start one run per method and seed.",
)
if started and entrants:
    compare_start.start(entrants)
    st.rerun()
show_refusal()
url.publish(experiment, runs=",".join(run.id for run in runs))
if runs:
    compare.comparison_view(runs)
else:
    welcome_picture(
        experiment,
        "Every method gets the same clients with the same samples, the same batches and the same start. What differs is only how"
        " the method works, so that a difference between two lines is the method's. You can also pick stored runs on the Runs"
        " page.",
    )

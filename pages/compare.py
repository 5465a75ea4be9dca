"""Compare: which method does better on the same clients?"""

import streamlit as st

from ilora.dashboard import comparing, lab, link, side_by_side
from ilora.dashboard.blocks import welcome_picture
from ilora.dashboard.form import experiment_form
from ilora.dashboard.navigation import title
from ilora.methods import METHODS

title("Which method does better?")
lab.store()
runs = comparing.compared_runs()
with st.sidebar:
    experiment = experiment_form(with_method=False)

st.session_state.setdefault("compare.methods", list(METHODS)[: comparing.FIRST])
offered = comparing.choices()
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
    comparing.MOST_SEEDS,
    key="compare.seeds",
    persist_state="session",
    help="Every method under so many seeds, from the one on the left. With two or more, differences are tested.",
)
problem, entrants = "", []
if experiment:
    try:
        entrants = comparing.entrants(experiment, chosen, seeds)
    except ValueError as error:
        problem = str(error)
if problem:
    st.markdown(f":red[:material/error: {problem}]")
busy = any(run.active for run in runs)
started = st.button(
    "Run all",
    type="primary",
    icon=":material/play_arrow:",
    key="compare.run",
    shortcut="Shift+Enter",
    disabled=busy or not entrants,
    help="Start one run per method and seed.",
)
if started and entrants:
    comparing.start(entrants)
    st.rerun()
if refused := st.session_state.pop(comparing.REFUSED, ""):
    st.error(refused, icon=":material/error:")
link.publish(experiment, runs=",".join(run.id for run in runs))
if runs:
    side_by_side.comparison_view(runs)
else:
    welcome_picture(
        experiment,
        "Every method gets the same clients with the same samples, the same batches and the same start. What differs is only how"
        " the method works, so that a difference between two lines is the method's."
        " You can also pick stored runs on the Runs page.",
    )

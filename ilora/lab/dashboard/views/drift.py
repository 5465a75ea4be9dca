"""The same experiment twice, with and without control variates: one button starts both, and their lines stand in one chart."""

import streamlit as st

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.analysis.measures import MEASURES
from ilora.lab.captions.comparison import compare
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.catalogue import CHARTS
from ilora.lab.dashboard.run_group import describe
from ilora.lab.figures import Trace
from ilora.lab.runs import pool
from ilora.lab.runs.store import Run, StoreError

PAIR, REFUSED, POLL_SECONDS = "drift.pair", "drift.refused", 1.5
SIDES = {"with control variates": "control-variates", "without": "none"}
SHOWN = {"drift": "drift-over-rounds", "cosine": "cosine", "accuracy": "accuracy"}


def on_and_off(experiment: Experiment) -> None:
    """The button, and what it started."""
    st.markdown("#### With and without control variates")
    st.markdown("The same clients, batches and seed, once with the correction and once without it.")
    runs = _runs()
    st.button(
        "Run both",
        key="drift.both",
        type="primary",
        icon=":material/play_arrow:",
        on_click=_start,
        args=(experiment,),
        disabled=any(run.active for run in runs),
        help="Start this experiment twice.",
    )
    if sentence := st.session_state.pop(REFUSED, ""):
        st.error(sentence, icon=":material/error:")
    if runs:
        alive = any(run.active for run in runs)
        st.fragment(_lines, run_every=POLL_SECONDS if alive else None)(alive)


def variants(experiment: Experiment) -> dict[str, Experiment]:
    """The experiment with the correction on and off, everything else as it is; FieldError where they do not go together."""
    return {
        name: experiment.replace(options={**experiment.options, "correction": correction}) for name, correction in SIDES.items()
    }


def _start(experiment: Experiment) -> None:
    try:
        made = variants(experiment)
        st.session_state[PAIR] = [
            pool.submit(data_access.store(), each, name, group="control-variates") for name, each in made.items()
        ]
    except (StoreError, FieldError) as error:
        st.session_state[REFUSED] = str(error)


def _runs() -> list[Run]:
    found = [data_access.find(run_id) for run_id in st.session_state.get(PAIR, [])]
    return [run for run in found if run is not None]


def _lines(alive: bool) -> None:
    pool.tend(data_access.store())
    runs = _runs()
    if any(run.active for run in runs) != alive:
        st.rerun()
    with st.grid("auto", min_column_width=240, gap="small"):
        for run in runs:
            st.progress(run.fraction, text=f"**{run.name}** · {describe(run)}")
    if not all(run.done for run in runs):
        return
    traces = [Trace(run.name, run.experiment.method if i == 0 else "", data_access.history(run)) for i, run in enumerate(runs)]
    histories = {trace.name: trace.history for trace in traces}
    rounds = max(run.rounds for run in runs)
    for measure, chart in SHOWN.items():
        figure = figures.over_rounds(traces, measure, rounds=rounds)
        draw(f"pair.{measure}", MEASURES[measure].title, figure, compare(measure, histories), CHARTS[chart])

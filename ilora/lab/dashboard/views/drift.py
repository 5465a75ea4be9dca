"""The same experiment twice, with and without control variates: one button starts both, and their lines stand in one chart."""

import streamlit as st

from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.analysis.measures import measure_of
from ilora.lab.captions.comparison import compare
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.catalogue import reading
from ilora.lab.dashboard.run_group import Group, active, progress, refusal_kept, show_refusal, submit, watch
from ilora.lab.figures import Trace
from ilora.records import main_score

PAIR = "drift.pair"
SIDES = {"with control variates": "control-variates", "without": "none"}
SHOWN = {"drift": "drift-over-rounds", "cosine": "cosine", "accuracy": "accuracy"}  # measure -> chart of the catalogue


def on_and_off(experiment: Experiment) -> None:
    """The button, and what it started."""
    st.markdown("#### With and without control variates")
    st.markdown("The same clients, batches and seed, once with the correction and once without it.")
    pair = _pair()
    st.button(
        "Run both",
        key="drift.both",
        type="primary",
        icon=":material/play_arrow:",
        on_click=_start,
        args=(experiment,),
        disabled=active(pair.values()),
        help="Start this experiment twice.",
    )
    show_refusal()
    if pair:
        watch(_pair, _lines)


def variants(experiment: Experiment) -> dict[str, Experiment]:
    """The experiment with the correction on and off, everything else as it is; FieldError where they do not go together."""
    return {
        name: experiment.replace(options={**experiment.options, "correction": correction}) for name, correction in SIDES.items()
    }


def _start(experiment: Experiment) -> None:
    with refusal_kept():
        made = variants(experiment)
        st.session_state[PAIR] = [submit(each, name, group="control-variates") for name, each in made.items()]


def _pair() -> Group:
    """The two runs, the one with the correction first."""
    return data_access.find_all(st.session_state.get(PAIR, []))


def _lines(pair: Group) -> None:
    """How the two runs stand, and their lines."""
    runs = list(pair.values())
    with st.grid("auto", min_column_width=240, gap="small"):
        for run in runs:
            progress(run.name, [run])
    if not all(run.done for run in runs):
        return
    traces = [Trace(run.name, run.experiment.method if i == 0 else "", data_access.history(run)) for i, run in enumerate(runs)]
    histories = {trace.name: trace.history for trace in traces}
    rounds = max(run.rounds for run in runs)
    main = main_score(runs[0].last)
    for measure, chart in SHOWN.items():
        shown = main if measure == "accuracy" else measure
        figure = figures.over_rounds(traces, shown, rounds=rounds)
        draw(f"pair.{measure}", measure_of(shown).title, figure, compare(shown, histories), reading(chart, main))

"""Runs side by side: a line for every entrant, its mean where it has several seeds, and what of the differences holds."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from ilora.lab import figures
from ilora.lab.analysis import significance
from ilora.lab.analysis.measures import measure_of
from ilora.lab.captions import comparison
from ilora.lab.captions.comparison import budget, compare, dead_slots
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.catalogue import reading
from ilora.lab.dashboard.charts.view import Chart, Reading
from ilora.lab.dashboard.run_group import Group, active, progress, stop_button, watch
from ilora.lab.dashboard.views.compare_entrants import (
    COMMON,
    Entrant,
    as_csv,
    entrants_of,
    has,
    marked,
    points_of,
    scored,
    scores_by_seed,
    shared_score,
    table,
    unlike,
)
from ilora.lab.runs.store import Run

SHOWN = {  # measure -> the chart of the catalogue that explains it
    "accuracy": "accuracy",
    "personal_accuracy": "clients-accuracy",
    "loss": "loss",
    "aggregation_error": "error",
    "alignment": "alignment-over-rounds",
    "drift": "drift-over-rounds",
    "effective_rank": "effective-rank",
}
TRADED = (
    "megabytes_up",
    "accuracy",
    "personal_accuracy",
    "loss",
    "aggregation_error",
    "megabytes_down",
    "kiloforwards",
    "seconds",
)
AXES = {"index": "rounds", "megabytes_up": "megabytes uploaded", "kiloforwards": "forward passes"}
TRADE_READING = Reading(
    "One point for each entrant after the last round that all have. Choose any two measures. A hollow point is dominated: another"
    " one is no worse in both and better in one. The dotted line joins the points that nobody dominates, the Pareto front."
    " Bars are 95 % intervals over seeds.",
    r"a\text{ dominates }b:\quad a_1\ge b_1,\ a_2\ge b_2,\ a\ne b",
    ("ilora.lab.analysis.significance:dominators",),
)


def comparison_view(runs: Sequence[Run]) -> None:
    """The runs side by side, redrawn every second while one of them is alive."""
    watch(lambda: data_access.find_all([run.id for run in runs]), _view)


def _view(group: Group) -> None:
    runs = list(group.values())
    entrants = entrants_of(runs)
    with st.container():  # holds whatever comes and goes, so that the charts keep their place
        _progress(runs, entrants)
        if different := unlike(entrants):
            st.warning(f"Not like with like: these runs also differ in {', '.join(different)}.", icon=":material/balance:")
    shown = [entrant for entrant in entrants if entrant.begun]
    if shown:
        _charts(shown, max(run.rounds for run in runs))
        for sentence in notes(shown):
            st.caption(sentence)
        _table(shown)
    if len(shown) > 1:
        _tests(shown)
        _trade_off(shown)


def _progress(runs: Sequence[Run], entrants: Sequence[Entrant]) -> None:
    if all(run.status == "finished" for run in runs):
        st.caption(f"All {len(runs)} runs are finished.")
        return
    with st.grid("auto", min_column_width=240, gap="small"):
        for entrant in entrants:
            progress(entrant.name, entrant.runs)
    if active(runs):
        stop_button(runs, "compare.stop")


def _charts(entrants: Sequence[Entrant], rounds: int) -> None:
    st.session_state.setdefault("compare.against", "index")
    against = st.segmented_control(
        "Against", list(AXES), key="compare.against", format_func=AXES.__getitem__, required=True, persist_state="session"
    )
    main = shared_score(entrants)
    measures = [measure for measure in SHOWN if any(has(entrant, measure, main) for entrant in entrants)]
    for pair in (measures[i : i + 2] for i in range(0, len(measures), 2)):
        for column, measure in zip(st.columns(2), pair, strict=False):
            shown = scored(measure, main)
            title = measure_of(shown).title + (" of the common model" if measure in COMMON else "")
            own = [entrant for entrant in entrants if has(entrant, measure, main)]
            traces = [entrant.trace for entrant in own]
            figure = figures.over_rounds(traces, shown, against=against or "index", rounds=rounds)
            sentence = compare(shown, {trace.name: trace.history for trace in traces})
            with column:
                said = comparison.over_seeds([len(entrant.begun) for entrant in own], sentence)
                draw(f"compare.{measure}", title, figure, said, _reading(measure, main))


def _reading(measure: str, main: str) -> Reading:
    """What the measure says, with the formula and the code of the chart that explains it; a line here is a whole run."""
    chart: Chart = reading(SHOWN[measure], main)
    about = f"{measure_of(scored(measure, main)).about} One line for each entrant. A band is the 95 % interval over its seeds."
    return Reading(about, chart.formula, chart.sources)


def notes(entrants: Sequence[Entrant]) -> list[str]:
    """What a reader must know to compare the charts fairly: budgets, missing lines, dead slots."""
    found = [budget({entrant.name: entrant.experiment.client_ranks for entrant in entrants})]
    if own := [entrant.name for entrant in entrants if entrant.experiment.recipe.personalised]:
        found.append(
            f"No line for {' and '.join(own)} where there is no common model: only its clients' own models are measured."
        )
    for entrant in entrants:
        run, rule = entrant.begun[0], entrant.experiment.recipe.ingredient("aggregate")
        if entrant.experiment.participation < 1 and rule.pads and not rule.counts_senders:
            records = [data_access.load_round(run, index) for index in range(1, run.done + 1)]
            layers = [next(iter(record.layers.values())) for record in records if record]
            found.append(dead_slots(entrant.name, [layer.coverage for layer in layers]))
    return [sentence for sentence in found if sentence]


def _table(entrants: Sequence[Entrant]) -> None:
    runs = [run for entrant in entrants for run in entrant.begun]
    st.markdown("##### After the last round")
    st.table(marked(*table(entrants), shared_score(entrants)).set_index("Run"))
    seeds = " ± is half of the 95 % t-interval over seeds." if len(runs) > len(entrants) else ""
    st.caption(
        "A star marks the best of a column. Time is the median per round; runs that train side by side slow each other down."
        + seeds
    )
    st.download_button(
        "Download all rounds as CSV",
        lambda: as_csv(runs),  # made at the click, so that it holds the newest round
        "comparison.csv",
        "text/csv",
        icon=":material/download:",
        key="compare.csv",
        on_click="ignore",
    )


def _tests(entrants: Sequence[Entrant]) -> None:
    """Which differences in the main score hold over the seeds."""
    main = shared_score(entrants)
    scores = scores_by_seed(entrants, "accuracy", main)
    seeds = min((len(own) for own in scores.values()), default=0)
    st.markdown("##### Could the difference be chance?")
    if len(scores) < 2 or seeds < 2:
        st.caption("One seed cannot tell. Set **Seeds** to three or more, and the differences are tested.")
        return
    measure = scored("accuracy", main)
    found = significance.differences(scores, measure_of(measure).better != "lower")
    rows = pd.DataFrame([comparison.difference_row(measure, each) for each in found])
    st.table(rows.set_index(rows.columns[0]))
    st.caption(comparison.tested(measure, found, seeds))


def _trade_off(entrants: Sequence[Entrant]) -> None:
    """Two measures of one's choice against each other."""
    main = shared_score(entrants)
    offered = [name for name in TRADED if any(has(entrant, name, main) for entrant in entrants)]
    titles = {name: measure_of(scored(name, main)).title for name in offered}
    st.markdown("##### What does it cost?")
    left, right = st.columns(2)
    across = left.selectbox("Across", offered, 0, key="compare.across", format_func=titles.__getitem__, persist_state="session")
    rest = [name for name in offered if name != across]
    up = right.selectbox("Upwards", rest, 0, key="compare.up", format_func=titles.__getitem__, persist_state="session")
    measures = scored(across, main), scored(up, main)
    points, halves = points_of(entrants, (across, up), main)
    known = [i for i, point in enumerate(points) if np.isfinite(point).all()]
    if not known:
        st.caption("Nobody here has both measures.")
        return
    drawn = [entrants[i] for i in known]
    names, methods = [entrant.name for entrant in drawn], [entrant.experiment.method for entrant in drawn]
    figure = figures.trade_off(names, methods, points[known], halves[known], measures)
    sentence = comparison.trade_off(names, points[known], measures)
    draw("compare.trade-off", f"{titles[up]} against {measure_of(measures[0]).name}", figure, sentence, TRADE_READING)

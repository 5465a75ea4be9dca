"""Comparing runs: start several methods on the same seed, clients and batches, and set stored runs side by side."""

import secrets
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from ilora import figures, jobs
from ilora.dashboard import lab, link
from ilora.dashboard.blocks import draw
from ilora.dashboard.charts import reading
from ilora.dashboard.live import POLL_SECONDS, describe
from ilora.experiment import Experiment
from ilora.figures import Trace
from ilora.measures import PERSONAL, measure_of, with_totals
from ilora.methods import METHODS
from ilora.records import main_score
from ilora.sentences import budget, compare, dead_slots
from ilora.store import Run, StoreError

RUNS, REFUSED = "compare.runs", "compare.refused"
LEAST, MOST = 2, 6
FIRST = 4  # methods that are chosen before anybody chooses
SHOWN = {  # measure -> the chart of the catalogue that explains it
    "accuracy": "accuracy",
    "personal_accuracy": "clients-accuracy",
    "loss": "loss",
    "aggregation_error": "error",
    "alignment": "alignment-over-rounds",
    "drift": "drift-over-rounds",
    "effective_rank": "effective-rank",
}
COMMON = ("accuracy", "loss")  # are of the one model that all share; undefined where there is none
COLUMNS = ("accuracy", "personal_accuracy", "loss", "aggregation_error", "alignment", "drift", "megabytes_up", "seconds")
AXES = {"index": "rounds", "megabytes_up": "megabytes sent up", "kiloforwards": "forward passes"}


def choices() -> dict[str, str]:
    """What can be compared: every method that learns from labels, and every other mode of it, as "method:mode" with its title."""
    found = {}
    for name, method in METHODS.items():
        if method.alignment:
            continue
        found[name] = method.title
        for mode in list(method.modes)[1:]:
            found[f"{name}:{mode}"] = f"{method.title} ({mode})"
    return found


def entrants(experiment: Experiment, chosen: Sequence[str]) -> list[Experiment]:
    """The same experiment once for every choice; ValueError unless two to six different ones are chosen."""
    if not LEAST <= len(set(chosen)) <= MOST:
        raise ValueError(f"methods: {len(set(chosen))} are chosen; allowed: {LEAST} to {MOST} different ones.")
    made = []
    for choice in dict.fromkeys(chosen):
        method, _, mode = choice.partition(":")
        made.append(
            experiment.replace(
                method=method, options={"mode": mode} if mode else {}, ranks=experiment.ranks, clients=experiment.clients
            )
        )
    return made


def start(experiments: Sequence[Experiment]) -> None:
    """Put all of them into the queue as one group and look at them."""
    group = f"compare-{secrets.token_hex(3)}"
    try:
        look_at([jobs.submit(lab.store(), experiment, group=group) for experiment in experiments])
    except StoreError as error:
        st.session_state[REFUSED] = str(error)


def look_at(run_ids: Sequence[str]) -> None:
    """Compare these runs from now on."""
    st.session_state[RUNS] = list(run_ids)
    link.note(runs=",".join(run_ids))


def compared_runs() -> list[Run]:
    """The runs on the page: those in the address, else those looked at last; none that learns from a reward."""
    asked = [part for part in link.asked("runs").split(",") if part]
    if asked:
        st.session_state[RUNS] = asked[: 2 * MOST]
    found = [lab.find(run_id) for run_id in st.session_state.get(RUNS, [])]
    known = [run for run in found if run is not None and lab.known(run)]
    return [run for run in known if not METHODS[run.experiment.method].alignment]


def comparison_view(runs: Sequence[Run]) -> None:
    """The runs side by side, redrawn every second while one of them is alive."""
    alive = any(run.active for run in runs)
    st.fragment(_view, run_every=POLL_SECONDS if alive else None)([run.id for run in runs], alive)


def names_of(runs: Sequence[Run]) -> dict[str, str]:
    """A name for each run that tells it from the others: its method, and where that is not enough its own name or id."""
    short = {run.id: choices().get(_choice(run.experiment), run.name) for run in runs}
    for labels in ({run.id: run.name for run in runs}, {run.id: f"{run.name} ({run.id})" for run in runs}):
        if len(set(short.values())) == len(runs):
            break
        short = {run.id: short[run.id] if list(short.values()).count(short[run.id]) == 1 else labels[run.id] for run in runs}
    return short


def differences(runs: Sequence[Run]) -> list[str]:
    """The settings in which the runs differ, apart from the method and its options."""
    settings = [run.experiment.to_dict() for run in runs]
    return [
        name for name in settings[0] if name not in ("method", "options") and any(s[name] != settings[0][name] for s in settings)
    ]


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """The last round of every run, one row per run, in the units of the screen."""
    names, rows, main = names_of(runs), [], shared_score(runs)
    for run in runs:
        history = with_totals(lab.history(run))
        last = history.iloc[-1] if len(history) else None
        known = {} if last is None else {name: float(last[name]) for name in COLUMNS if has(run, name, main)}
        values = {measure_of(scored(name, main)).title: known.get(name, float("nan")) for name in COLUMNS}
        if len(history):
            values[measure_of("seconds").title] = float(history["seconds"].median())
        rows.append({"Run": names[run.id], "Rounds": run.done, **values})
    return pd.DataFrame(rows)


def shared_score(runs: Sequence[Run]) -> str:
    """The score by which the first run's task is known; runs of a task with another one have no line in its charts."""
    return next((main_score(run.last) for run in runs if run.last), "accuracy")


def scored(measure: str, main: str) -> str:
    """The measure that stands where accuracy would, in a task that is known by the score `main`."""
    if main == "accuracy":
        return measure
    return {"accuracy": main, "personal_accuracy": PERSONAL + main}.get(measure, measure)


def has(run: Run, measure: str, main: str = "accuracy") -> bool:
    """Whether a measure means the same in this run as in the others: without a common model there is no accuracy of one."""
    if measure in ("accuracy", "personal_accuracy") and run.last and main_score(run.last) != main:
        return False
    return not (measure in COMMON and run.experiment.recipe.personalised)


def marked(frame: pd.DataFrame, main: str = "accuracy") -> pd.DataFrame:
    """The table as text with units, the best of each column in bold with a star."""
    shown = frame.astype({"Rounds": str}).astype(object)
    for name in COLUMNS:
        words = measure_of(scored(name, main))
        texts = [words.show(value) for value in frame[words.title]]
        best = {"higher": frame[words.title].max(), "lower": frame[words.title].min()}.get(words.better)
        good = words.show(best) if best is not None and len(set(texts)) > 1 else None
        shown[words.title] = [f"**{text}** :material/star:" if text == good else text for text in texts]
    return shown


def as_csv(runs: Sequence[Run]) -> bytes:
    """All rounds of all runs with what tells them apart, one row per run and round."""
    parts = []
    for run in runs:
        e = run.experiment
        lead = {"run": run.id, "name": run.name, "method": e.method, "mode": e.options.get("mode", ""), "seed": e.seed}
        parts.append(lab.history(run).reset_index(drop=True).assign(**lead)[[*lead, *lab.history(run).columns]])
    return pd.concat(parts).to_csv(index=False).encode() if parts else b""


def _choice(experiment: Experiment) -> str:
    mode = experiment.options.get("mode", "")
    return f"{experiment.method}:{mode}" if mode else experiment.method


def _view(run_ids: list[str], alive: bool) -> None:
    trouble = jobs.tend(lab.store())
    runs = [run for run in (lab.find(run_id) for run_id in run_ids) if run]
    if any(run.active for run in runs) != alive:
        st.rerun()
    names = names_of(runs)
    with st.container():  # holds whatever comes and goes, so that the charts keep their place
        if trouble:
            st.error(trouble, icon=":material/error:")
        _progress(runs, names)
        if different := differences(runs):
            st.warning(f"Not like with like: these runs also differ in {', '.join(different)}.", icon=":material/balance:")
    if any(run.done for run in runs):
        _charts(runs, names)
        _table(runs)


def _progress(runs: Sequence[Run], names: dict[str, str]) -> None:
    if not any(run.active for run in runs) and all(run.status == "finished" for run in runs):
        st.caption(f"All {len(runs)} runs are finished.")
        return
    with st.grid("auto", min_column_width=240, gap="small"):
        for run in runs:
            st.progress(run.fraction, text=f"**{names[run.id]}** · {describe(run)}")
    if any(run.active for run in runs):
        st.button("Stop all", icon=":material/stop:", key="compare.stop", on_click=_stop, args=(runs,))


def _stop(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.active:
            jobs.stop(lab.store(), run.id)


def _charts(runs: Sequence[Run], names: dict[str, str]) -> None:
    st.session_state.setdefault("compare.against", "index")
    against = st.segmented_control(
        "Against", list(AXES), key="compare.against", format_func=AXES.__getitem__, required=True, persist_state="session"
    )
    rounds = max(run.rounds for run in runs)
    main = shared_score(runs)
    measures = [measure for measure in SHOWN if any(has(run, measure, main) for run in runs)]
    for pair in (measures[i : i + 2] for i in range(0, len(measures), 2)):
        for column, measure in zip(st.columns(2), pair, strict=False):
            shown = scored(measure, main)
            title = measure_of(shown).title + (" of the common model" if measure in COMMON else "")
            traces = [Trace(names[run.id], run.experiment.method, lab.history(run)) for run in runs if has(run, measure, main)]
            histories = {trace.name: trace.history for trace in traces}
            figure = figures.over_rounds(traces, shown, against=against or "index", rounds=rounds)
            with column:
                draw(f"compare.{measure}", title, figure, compare(shown, histories), reading(SHOWN[measure], main))

    for sentence in notes(runs, names):
        st.caption(sentence)


def notes(runs: Sequence[Run], names: dict[str, str]) -> list[str]:
    """What a reader must know to compare the charts fairly: budgets, missing lines, dead slots."""
    found = [budget({names[run.id]: run.experiment.client_ranks for run in runs})]
    if own := [names[run.id] for run in runs if run.experiment.recipe.personalised]:
        found.append(
            f"No line for {' and '.join(own)} where there is no common model: only its clients' own models are measured."
        )
    for run in runs:
        if run.experiment.participation < 1 and run.experiment.recipe.ingredients["aggregate"] == "mean":
            records = [lab.load_round(run, index) for index in range(1, run.done + 1)]
            layers = [next(iter(record.layers.values())) for record in records if record]
            found.append(dead_slots(names[run.id], [layer.coverage for layer in layers]))
    return [sentence for sentence in found if sentence]


def _table(runs: Sequence[Run]) -> None:
    st.markdown("##### After the last round")
    st.table(marked(table(runs), shared_score(runs)).set_index("Run"))
    st.caption(
        "A star marks the best of a column. Time is the median per round; runs that train side by side slow each other down."
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

"""Entrants of a comparison: runs that differ in the seed alone, together, and what they come to after their last round."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from ilora.experiment import Experiment
from ilora.lab.analysis import significance
from ilora.lab.analysis.measures import PERSONAL, measure_of, with_totals
from ilora.lab.analysis.significance import Array
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.views.compare_start import choices
from ilora.lab.figures import Trace
from ilora.lab.runs.store import Run
from ilora.records import main_score

COMMON = ("accuracy", "loss")  # are of the one model that all share; undefined where there is none
COLUMNS = ("accuracy", "personal_accuracy", "loss", "aggregation_error", "alignment", "drift", "megabytes_up", "seconds")
WORDS = {"lr": "learning rate"}  # settings whose names are no words


@dataclass(frozen=True)
class Entrant:
    """What is compared: one experiment, with a run for each of its seeds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def experiment(self) -> Experiment:
        """The experiment, under its first seed."""
        return self.runs[0].experiment

    @property
    def begun(self) -> list[Run]:
        """Its runs that have a round to show."""
        return [run for run in self.runs if run.done]

    @cached_property
    def histories(self) -> dict[int, pd.DataFrame]:
        """The metrics of the runs that have begun, with their running totals, by seed; read once for all charts of a page."""
        return {run.experiment.seed: with_totals(data_access.history(run)) for run in self.begun}

    @cached_property
    def trace(self) -> Trace:
        """Its line: means over the seeds that have begun, with their intervals."""
        mean, half = significance.over_seeds(list(self.histories.values()))
        return Trace(self.name, self.experiment.method, mean, half if len(self.histories) > 1 else None)


def entrants_of(runs: Sequence[Run]) -> list[Entrant]:
    """Runs that differ in nothing but the seed, together; a run that is there twice stands by itself."""
    found: dict[tuple[str, int], list[Run]] = {}
    for run in runs:
        same, turn = run.experiment.replace(seed=0).to_json(), 0
        while run.experiment.seed in [other.experiment.seed for other in found.get((same, turn), [])]:
            turn += 1
        found.setdefault((same, turn), []).append(run)
    names = names_of([own[0] for own in found.values()])
    return [Entrant(names[own[0].id], tuple(own)) for own in found.values()]


def names_of(runs: Sequence[Run]) -> dict[str, str]:
    """A name for each run that tells it from the others: its method, and where that is not enough its own name or id."""
    short = {run.id: choices().get(_choice(run.experiment), run.name) for run in runs}
    for labels in ({run.id: run.name for run in runs}, {run.id: f"{run.name} ({run.id})" for run in runs}):
        if len(set(short.values())) == len(runs):
            break
        short = {run.id: short[run.id] if list(short.values()).count(short[run.id]) == 1 else labels[run.id] for run in runs}
    return short


def unlike(entrants: Sequence[Entrant]) -> list[str]:
    """The settings in which the entrants differ, apart from the method and its options, in words."""
    settings = [entrant.experiment.to_dict() for entrant in entrants]
    names = [name for name in settings[0] if name not in ("method", "options", "seed")]
    found = [name for name in names if any(own[name] != settings[0][name] for own in settings)]
    seeds = [{run.experiment.seed for run in entrant.runs} for entrant in entrants]
    found += ["seed"] if any(own != seeds[0] for own in seeds) else []
    return [WORDS.get(name, name.replace("_", " ")) for name in found]


def shared_score(entrants: Sequence[Entrant]) -> str:
    """The score by which the first task is known; entrants of a task with another one have no line in its charts."""
    return next((main_score(run.last) for entrant in entrants for run in entrant.begun if run.last), "accuracy")


def scored(measure: str, main: str) -> str:
    """The measure that stands where accuracy would, in a task that is known by the score `main`."""
    if main == "accuracy":
        return measure
    return {"accuracy": main, "personal_accuracy": PERSONAL + main}.get(measure, measure)


def has(entrant: Entrant, measure: str, main: str = "accuracy") -> bool:
    """Whether a measure means the same here as in the others: without a common model there is no accuracy of one."""
    if not entrant.begun:
        return False
    if measure in ("accuracy", "personal_accuracy") and main_score(entrant.begun[0].last) != main:
        return False
    return not (measure in COMMON and entrant.experiment.recipe.personalised)


def last_round(entrant: Entrant, measures: Sequence[str], main: str) -> pd.DataFrame:
    """The last round that all its seeds have: mean and half interval, (2, measures), NaN where a measure is not defined."""
    trace = entrant.trace
    half = trace.half if trace.half is not None else trace.history * np.nan
    rows = pd.DataFrame({"mean": trace.history.iloc[-1], "half": half.iloc[-1]}).T
    if "seconds" in measures:  # one round's time says little
        rows.loc["mean", "seconds"] = float(np.median([own["seconds"].median() for own in entrant.histories.values()]))
        rows.loc["half", "seconds"] = np.nan
    known = {name: rows[scored(name, main)] if has(entrant, name, main) else np.nan for name in measures}
    return pd.DataFrame(known, index=["mean", "half"])


def table(entrants: Sequence[Entrant]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The last round of every entrant, a row each: means, and halves of their intervals."""
    main = shared_score(entrants)
    titles = {name: measure_of(scored(name, main)).title for name in COLUMNS}
    rows = [last_round(entrant, COLUMNS, main).rename(columns=titles) for entrant in entrants]
    lead = pd.DataFrame([{"Run": own.name, "Seeds": len(own.begun), "Rounds": own.runs[0].done} for own in entrants])
    mean, half = (pd.DataFrame([row.loc[part] for row in rows]).reset_index(drop=True) for part in ("mean", "half"))
    return pd.concat([lead, mean], axis=1), half


def marked(mean: pd.DataFrame, half: pd.DataFrame, main: str = "accuracy") -> pd.DataFrame:
    """The table as text with units and intervals, the best of each column in bold with a star."""
    shown = mean.astype({"Seeds": str, "Rounds": str}).astype(object)
    for name in COLUMNS:
        words = measure_of(scored(name, main))
        texts = [words.show(value) for value in mean[words.title]]
        best = {"higher": mean[words.title].max(), "lower": mean[words.title].min()}.get(words.better)
        good = words.show(best) if best is not None and len(set(texts)) > 1 else None
        spread = [f"{words.scale * value:.{words.digits}f}" if value > 0 else "" for value in half[words.title]]
        around = [f" ± {text}" if text.strip("0.") else "" for text in spread]
        shown[words.title] = [
            f"**{text}**{more} :material/star:" if text == good else text + more for text, more in zip(texts, around, strict=True)
        ]
    return shown if (mean["Seeds"] > 1).any() else shown.drop(columns="Seeds")


def as_csv(runs: Sequence[Run]) -> bytes:
    """All rounds of all runs with what tells them apart, one row per run and round."""
    parts = []
    for run in runs:
        e = run.experiment
        lead = {"run": run.id, "name": run.name, "method": e.method, "mode": e.options.get("mode", ""), "seed": e.seed}
        parts.append(data_access.history(run).reset_index(drop=True).assign(**lead)[[*lead, *data_access.history(run).columns]])
    return pd.concat(parts).to_csv(index=False).encode() if parts else b""


def _choice(experiment: Experiment) -> str:
    mode = experiment.options.get("mode", "")
    return f"{experiment.method}:{mode}" if mode else experiment.method


def scores_by_seed(entrants: Sequence[Entrant], measure: str, main: str) -> dict[str, list[float]]:
    """For each entrant the measure under the seeds that all have, after the last round that all have."""
    able = [entrant for entrant in entrants if has(entrant, measure, main)]
    seeds = sorted(set.intersection(*(set(entrant.histories) for entrant in able))) if able else []
    last = min((len(entrant.histories[seed]) for entrant in able for seed in seeds), default=0)
    name = scored(measure, main)
    return {entrant.name: [float(entrant.histories[seed][name].iloc[last - 1]) for seed in seeds] for entrant in able}


def points_of(entrants: Sequence[Entrant], measures: tuple[str, str], main: str) -> tuple[Array, Array]:
    """Two measures of every entrant after its last round: means and halves of intervals, (n, 2) each."""
    rows = [last_round(entrant, measures, main) for entrant in entrants]
    mean, half = (np.array([row.loc[part].to_numpy(float) for row in rows]).reshape(-1, 2) for part in ("mean", "half"))
    return mean, half

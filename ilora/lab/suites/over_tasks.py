"""The suite over real tasks: methods, floor and ceiling on CIFAR and GLUE over several seeds, as one table.

The floor trains the head alone on the frozen backbone. The ceiling is one client with everybody's data and the largest rank
that takes as many steps as all clients together.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ilora.experiment import Experiment
from ilora.lab.analysis.significance import differences, interval
from ilora.lab.runs.store import Run, Store
from ilora.lab.suites.over_seeds import put_part, rows_of, run_all
from ilora.tasks import TASKS

GROUP = "suite-tasks"
COMPARED = ("ilora", "fedit", "flora", "flexlora", "ffa-lora", "fedex-lora", "raflora", "fedrot-lora")
LINES = tuple(row for row in rows_of(COMPARED) if row.options.get("correction") != "none")
SHORTER = {"ilora": {"control_samples": 500}}  # in its literal modes too: they would go through all data in every round
OURS = "ILoRA, corrected"
FLOOR, CEILING = "Frozen backbone, head alone", "Centralised LoRA"
LEARNING_RATES: dict[str, tuple[float, ...]] = {"cifar10": (2e-3,), "cifar100": (2e-3,)}
LEARNING_RATES |= dict.fromkeys(("sst2", "rte", "mrpc", "stsb"), (0.005, 0.002))


def entries(base: Experiment) -> dict[str, dict[str, Any]]:
    """What differs from a task's experiment in each line of the table: the compared methods, then floor and ceiling."""
    compared = {row.title: {"method": row.method, "options": row.options | SHORTER.get(row.method, {})} for row in LINES}
    everybody = {"ranks": [max(base.client_ranks)], "skew": "iid", "participation": 1.0}
    return {
        **compared,
        FLOOR: {"method": "fedit", "options": {"sharing": "head-only"}},
        CEILING: {"method": "fedit", "local_steps": base.local_steps * len(base.client_ranks), **everybody},
    }


def run_tasks(store: Store, bases: Mapping[str, Experiment], seeds: int) -> dict[str, dict[str, list[Run]]]:
    """Train every line of the table in every column under seeds 0, 1, ...; runs by column and line."""
    wanted = {
        f"{task}: {title}": [base.replace(seed=seed, **changes) for seed in range(seeds)]
        for task, base in bases.items()
        for title, changes in entries(base).items()
    }
    runs = run_all(store, wanted, GROUP)
    return {task: {title: runs[f"{task}: {title}"] for title in entries(base)} for task, base in bases.items()}


def column(lines: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """One task's column of the table: the last round's main score by seed, its mean and half interval, and the mean length of
    its correction over its gradient; a row per line."""
    known = {}
    for title, group in lines.items():
        if ended := [run.last for run in group if run.status == "finished"]:
            scores = [last["accuracy"] for last in ended]
            known[title] = (*interval(scores), scores, float(np.mean([last["correction_ratio"] for last in ended])))
    return pd.DataFrame.from_dict(known, orient="index", columns=["mean", "half", "scores", "correction"])


def report(bases: Mapping[str, Experiment], columns: Mapping[str, pd.DataFrame], seeds: int) -> str:
    """The table as a part of a document, with what it says in sentences; every number in it comes from `columns`."""
    titles = list(dict.fromkeys(title for own in columns.values() for title in own.index))
    return "\n".join(
        [
            "# Results on CIFAR and GLUE",
            "",
            "Written by `python -m ilora compare --suite tasks`; do not edit. Scores times 100 after the last round, mean over",
            f"{seeds} seeds ± half of the 95 % t-interval. Each backbone is the small one that comes with this repository: the",
            "scores say how the methods compare at this size, and nothing about the sizes of the papers.",
            "",
            "| task | score | backbone | clients and ranks | skew | rounds × steps × batch | optimizer | precision |",
            "|---|---|---|---|---|---|---|---|",
            *(setting_line(title, base) for title, base in bases.items()),
            "",
            f"{FLOOR}: no adapter at all. {CEILING}: one client with all data, the largest rank, and the steps of all",
            "clients together. The best federated mean of a task is bold. Every mode of ILoRA takes its control variates from",
            "500 samples of a client, where the authors' code takes them from all.",
            "",
            f"| method | {' | '.join(bases)} |",
            f"|---|{'---|' * len(bases)}",
            *(f"| {title} | {' | '.join(cell(columns[task], title) for task in bases)} |" for title in titles),
            f"| *{OURS}: correction / gradient* | {' | '.join(correction(columns[task]) for task in bases)} |",
            "",
            "A score that hardly any line or seed changes is that of one answer for all samples: nothing was learned there.",
            "All methods make the same number of steps, but not the same number of forward passes: control variates need",
            "extra ones, so a lead of ILoRA here is not one at equal compute.",
            f"The last row is how long the control variates of {OURS} are in the last round, the gradient being 1.",
            "They stay fixed for all steps of a round. The learning rates are the same for all methods and tuned for none; the",
            "order of methods depends on them.",
            "",
            *(f"- {sentence(task, columns[task])}" for task in bases),
        ]
    )


def setting_line(title: str, base: Experiment) -> str:
    """What was run for one column."""
    card = TASKS[base.task]
    ranks = base.ranks if isinstance(base.ranks, str) else ", ".join(map(str, base.ranks))
    skew = f"{base.skew}, alpha {base.alpha:g}" if base.skew in ("label", "quantity") else base.skew
    return (
        f"| {title} | {card.metric} | {base.backbone} | {len(base.client_ranks)}, {ranks} | {skew}"
        f" | {base.rounds} × {base.local_steps} × {base.batch_size} | {base.optimizer}, {base.lr:g} | {base.precision} |"
    )


def cell(own: pd.DataFrame, title: str) -> str:
    """Mean and half interval of one line on one task."""
    if title not in own.index:
        return "not run"
    text = f"{100 * own['mean'][title]:.1f} ± {100 * own['half'][title]:.1f}"
    return f"**{text}**" if [title] == leaders(own) else text


def correction(own: pd.DataFrame) -> str:
    """How long ILoRA's control variates are, the gradient being 1."""
    return f"{own['correction'][OURS]:.2f}" if OURS in own.index else "not run"


def ranking(own: pd.DataFrame) -> pd.DataFrame:
    """The federated lines of a column, the best first."""
    return own.drop(index=[FLOOR, CEILING], errors="ignore").sort_values("mean", ascending=False)


def leaders(own: pd.DataFrame) -> list[str]:
    """The federated lines with the best mean: several where nothing tells them apart."""
    ranked = ranking(own)["mean"]
    return [str(title) for title in ranked.index[ranked > ranked.iloc[0] - 1e-6]]


def sentence(task: str, own: pd.DataFrame) -> str:
    """What one column says: which mean is highest, by how many tests it differs, and what LoRA brought at all."""
    ranked, mean = ranking(own), own["mean"]
    best, alike = ranked.index[0], leaders(own)
    brought = (
        f"{100 * (mean[best] - mean[FLOOR]):+.1f} points from the head alone and {100 * (mean[best] - mean[CEILING]):+.1f} from"
        " centralised LoRA"
    )
    if len(alike) > 1:
        return f"{task}: {len(alike)} of {len(ranked)} lines share the highest mean, {brought}."
    scores = {str(title): other for title, other in ranked["scores"].items() if len(other) == len(ranked["scores"].iloc[0])}
    ahead = sum(bool(np.all(np.greater(scores[best], other))) for other in scores.values())
    apart = sum(difference.p < 0.05 for difference in differences(scores))
    return (
        f"{task}: {best} has the highest mean, {brought}. It is ahead of {ahead} of the other {len(ranked) - 1} under every seed;"
        f" paired t-tests (Holm, 5 %) find a significant difference from {apart}."
    )


def write_task_results(path: Path, base: Experiment, seeds: int) -> dict[str, pd.DataFrame]:
    """Run the suite with the settings of `base` on every task, under its rates; write its part of the document at `path`."""
    store = Store()
    bases = {
        title_of(task, rate): base.replace(task=task, backbone="", targets=(), lr=rate, method="ilora", options={})
        for task, rates in LEARNING_RATES.items()
        for rate in rates
    }
    columns = {title: column(runs) for title, runs in run_tasks(store, bases, seeds).items()}
    put_part(path, report(bases, columns, seeds))
    return columns


def title_of(task: str, rate: float) -> str:
    """A column's title: the task's, with the learning rate where there are several."""
    title = TASKS[task].title
    return title if len(LEARNING_RATES[task]) == 1 else f"{title} at {rate:g}"

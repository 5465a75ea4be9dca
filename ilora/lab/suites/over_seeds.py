"""Suites: every method over several seeds on the same clients and batches, and the table that the documents quote."""

import os
import re
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from ilora.experiment import Experiment
from ilora.lab.analysis.significance import interval
from ilora.lab.runs import pool
from ilora.lab.runs.store import Run, Store
from ilora.methods import METHODS, PROVENANCE

GROUP = "suite-seeds"
WAITED_FOR = ("queued", "running", "interrupted")
MEASURES = {"accuracy": "accuracy", "loss": "loss", "aggregation_error": "aggregation error", "drift": "drift"}


@dataclass(frozen=True)
class Row:
    """One line of the table: a method under options of its own."""

    title: str
    method: str
    options: dict[str, Any]
    changes: dict[str, Any] = field(default_factory=dict)  # settings of the experiment that differ from the others'


def rows_of(methods: Sequence[str]) -> list[Row]:
    """A row for each method and each further mode, and for ILoRA without its control variates.

    None for a method that learns from rewards, nor for one that needs a skew of its own; see CONTROLS.
    """
    rows = []
    for key in methods:
        method = METHODS[key]
        if method.learns_from_reward or method.needed_skew:
            continue
        modes = list(method.modes) or [""]
        rows += [Row(f"{method.title}{', ' + mode if mode else ''}", key, {"mode": mode} if mode else {}) for mode in modes]
        if key == "ilora":
            rows.append(Row("ILoRA, no control variates", key, {"correction": "none"}))
    return rows


NOISE = {"noisy_clients": 1}
STYLES = {"skew": "attribute"}
CONTROLS = {
    "FLood's weights at the server": (
        Row("FLood, weights by confidence", "flood", {}),
        Row("FLood, weights by samples", "flood", {"weighting": "samples"}),
    ),
    "Attribute skew, which DFL is made for": (
        Row("DFL, attribute skew", "dfl", {}, STYLES),
        Row("FedIT, attribute skew", "fedit", {}, STYLES),
    ),
    "Label skew, where DFL has no style to set apart": (
        Row("DFL, label skew", "dfl", {"negative_control": True}, {"skew": "label"}),
        Row("FedIT, label skew", "fedit", {}, {"skew": "label"}),
    ),
    "One client with random labels": (
        Row("CO-PFL, weights by contribution to the data", "co-pfl", {"mu": 0.0}, NOISE),
        Row("CO-PFL, the same, bounded at 1.5/C", "co-pfl", {"mu": 0.0, "clip": 1.5}, NOISE),
        Row("CO-PFL, weights by samples", "co-pfl", {"weighting": "samples"}, NOISE),
    ),
}


def run_seeds(store: Store, base: Experiment, rows: Sequence[Row], seeds: int) -> dict[str, list[Run]]:
    """Train every row under seeds 0, 1, ... in worker processes; runs by row title."""
    wanted = {
        row.title: [base.replace(method=row.method, options=row.options, seed=seed, **row.changes) for seed in range(seeds)]
        for row in rows
    }
    return run_all(store, wanted, GROUP)


def run_all(store: Store, wanted: Mapping[str, Sequence[Experiment]], group: str) -> dict[str, list[Run]]:
    """Train experiments in worker processes, those of every title together.

    What the store has of the group is used, and what an interrupted call has begun or left waiting goes on.
    """
    known = {run.experiment.to_json(): run.id for run in store.runs(group) if run.status in ("finished", *WAITED_FOR)}
    ids: dict[str, list[str]] = {title: [] for title in wanted}
    for title, experiment in by_seed(wanted):
        key = experiment.to_json()
        if key not in known:
            known[key] = pool.submit(store, experiment, f"{title}, seed {experiment.seed}", group=group)
        ids[title].append(known[key])
    wait_for(store, [run_id for own in ids.values() for run_id in own])
    return {title: [store.run(run_id) for run_id in own] for title, own in ids.items()}


def by_seed(wanted: Mapping[str, Sequence[Experiment]]) -> list[tuple[str, Experiment]]:
    """Titles with their experiments, the first of every title before the second of any: an early stop leaves whole seeds."""
    turns = zip_longest(*([(title, experiment) for experiment in own] for title, own in wanted.items()))
    return [pair for turn in turns for pair in turn if pair]


def wait_for(store: Store, ids: Sequence[str]) -> None:
    """Keep workers at it until no run of `ids` is waiting or training, under a progress bar."""
    with tqdm(total=len(ids), unit="run") as bar:
        while True:
            pool.tend(store, os.cpu_count() or 1)
            left = sum(store.run(run_id).status in WAITED_FOR for run_id in ids)
            bar.n = len(ids) - left
            bar.refresh()
            if not left:
                return
            time.sleep(1)


def table(store: Store, runs: dict[str, list[Run]]) -> pd.DataFrame:
    """One line per row, the best accuracy first: mean and half interval of each measure after the last round, and the cost."""
    lines = []
    for title, group in runs.items():
        finished = [run for run in group if run.status == "finished"]
        if not finished:
            continue
        line: dict[str, object] = {"method": title, "seeds": len(finished)}
        for measure, name in MEASURES.items():
            line[name], line[f"{name} +-"] = interval([run.last[measure] for run in finished])
        history = store.history(finished[0].id)
        line["MB up"], line["MB down"] = history["bytes_up"].sum() / 1e6, history["bytes_down"].sum() / 1e6
        chosen = finished[0].experiment
        line["personalised"] = METHODS[chosen.method].personalised
        line["provenance"] = PROVENANCE[METHODS[chosen.method].provenance_of(chosen.options.get("mode", ""))]
        lines.append(line)
    return pd.DataFrame(lines).sort_values("accuracy", ascending=False, ignore_index=True)


def report(base: Experiment, frame: pd.DataFrame) -> str:
    """The table as a document, with what it says in sentences; every number in it comes from `frame`."""
    control = frame["method"].isin([row.title for rows in CONTROLS.values() for row in rows])
    common, personal = frame[~frame["personalised"] & ~control], frame[frame["personalised"] & ~control]
    ranks = base.ranks if isinstance(base.ranks, str) else ", ".join(map(str, base.ranks))
    return "\n".join(
        [
            "# Results",
            "",
            "Written by `python -m ilora compare --suite seeds`; do not edit. Mean after the last round ± half of the 95 %",
            "t-interval over seeds. Under one seed every method meets the same clients, batches and starting head.",
            "",
            f"Task {base.task}; {base.clients} clients, ranks: {ranks}; skew {base.skew}, alpha {base.alpha:g};",
            f"{base.rounds} rounds of {base.local_steps} steps of batch {base.batch_size}; {base.optimizer} at {base.lr:g}",
            "for every method: none was tuned on its own, and the order of methods depends on the shared learning rate.",
            "",
            *lines_of(common),
            *sentences(common),
            *(personal_part(personal) if len(personal) else []),
            *(control_part(frame[control]) if control.any() else []),
        ]
    )


def personal_part(frame: pd.DataFrame) -> list[str]:
    """The methods without a global model, whose accuracy is a different quantity."""
    return [
        "## A model for each client",
        "",
        "These methods keep no global model. Accuracy is the weighted mean of the clients' own models on the common test set;",
        "it does not compare with the table above.",
        "",
        *lines_of(frame),
    ]


def control_part(frame: pd.DataFrame) -> list[str]:
    """Ingredients that can do harm, beside the same method without them: each part with the sentence that its rows allow."""
    text = ["## Negative controls", "", "Kept because a comparison that only shows gains is none.", ""]
    for title, rows in CONTROLS.items():
        part = frame[frame["method"].isin([row.title for row in rows])]
        if len(part):
            text += [f"### {title}", "", *lines_of(part), control_sentence(part, rows), ""]
    return text


def control_sentence(part: pd.DataFrame, rows: Sequence[Row]) -> str:
    """How the first row of a control stands to the last, which is the plain one."""
    found = part.set_index("method")
    if not {rows[0].title, rows[-1].title} <= set(found.index):
        return ""
    first, plain = found.loc[rows[0].title], found.loc[rows[-1].title]
    gain = 100 * (first["accuracy"] - plain["accuracy"])
    apart = abs(first["accuracy"] - plain["accuracy"]) > first["accuracy +-"] + plain["accuracy +-"]
    verdict = "Their intervals do not overlap." if apart else "Their intervals overlap."
    return f"{rows[0].title} against {rows[-1].title}: {gain:+.1f} points of accuracy. {verdict}"


def lines_of(frame: pd.DataFrame) -> list[str]:
    """The table's lines, with an empty one behind."""
    return [
        "| method | seeds | accuracy, % | loss | aggregation error | drift D | MB up | MB down | its formulas |",
        "|---|---|---|---|---|---|---|---|---|",
        *(line_of(row) for row in frame.to_dict("records")),
        "",
    ]


def line_of(row: dict[Hashable, Any]) -> str:
    """One line of the table."""
    accuracy = f"{100 * row['accuracy']:.1f} ± {100 * row['accuracy +-']:.1f}"
    loss = f"{row['loss']:.3f} ± {row['loss +-']:.3f}"
    bytes_sent = f"{row['MB up']:.1f} | {row['MB down']:.1f}"
    error = "none is defined" if isnan(row["aggregation error"]) else f"{row['aggregation error']:.2g}"
    rest = f"{error} | {row['drift']:.1f} | {bytes_sent} | {row['provenance']}"
    return f"| {row['method']} | {row['seeds']} | {accuracy} | {loss} | {rest} |"


def sentences(frame: pd.DataFrame) -> list[str]:
    """What the table says: which mean is highest, which intervals overlap its own, and what ILoRA's control variates change."""
    best = frame.iloc[0]
    floor = best["accuracy"] - best["accuracy +-"]
    level = [r["method"] for _, r in frame.iloc[1:].iterrows() if r["accuracy"] + r["accuracy +-"] >= floor]
    lines = [f"{best['method']} has the highest mean accuracy, {best['accuracy']:.1%}."]
    if level:
        lines.append(f"The intervals of these overlap with its own: {'; '.join(level)}.")
    ilora = frame[frame["method"] == "ILoRA, corrected"]
    if len(ilora):
        mine, bare = ilora.iloc[0], frame[frame["method"] == "ILoRA, no control variates"]
        error = f"{mine['aggregation error']:.2g}"
        lines.append(f"ILoRA in its corrected mode has {mine['accuracy']:.1%}, at an aggregation error of {error}.")
        if len(bare):
            gain = 100 * (mine["accuracy"] - bare.iloc[0]["accuracy"])
            lines.append(
                f"Its control variates change accuracy by {gain:+.1f} points, for twice the traffic and extra forward passes:"
            )
            lines.append("the table compares equal numbers of steps, not equal compute.")
    return [" ".join(lines), ""]


def write_results(path: Path, base: Experiment, methods: Sequence[str], seeds: int) -> pd.DataFrame:
    """Run the suite and write its part of the document at `path`."""
    store = Store()
    rows = [*rows_of(methods), *(row for group in CONTROLS.values() for row in group if row.method in methods)]
    frame = table(store, run_seeds(store, base, rows, seeds))
    put_part(path, report(base, frame))
    return frame


def put_part(path: Path, part: str) -> None:
    """Replace the part of a document that has the same first heading, or append it; other parts stay."""
    parts = re.split(r"(?m)^(?=# )", path.read_text(encoding="utf-8")) if path.exists() else []
    heading = part.splitlines()[0]
    written = {own.splitlines()[0]: own.strip() for own in parts if own.strip()} | {heading: part.strip()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(written.values()) + "\n", encoding="utf-8")

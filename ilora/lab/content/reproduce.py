"""A run as a Python script and as a notebook that train it again, and say whether the numbers are the same. No torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from ilora.experiment import Experiment
from ilora.records import SCORE, RunFacts, main_score


def as_python(experiment: Experiment) -> str:
    """The call of Experiment that makes this experiment, with the fields that differ from the default only."""
    plain = Experiment(task=experiment.task)
    lines = [] if experiment.task == Experiment().task else [f"    task={experiment.task!r},\n"]
    for field in fields(experiment):
        value = getattr(experiment, field.name)
        given_by_ranks = field.name == "clients" and not isinstance(experiment.ranks, str)
        if value != getattr(plain, field.name) and field.name != "task" and not given_by_ranks:
            lines.append(f"    {field.name}={_literal(value)},\n")
    return f"ilora.Experiment(\n{''.join(lines)})" if lines else "ilora.Experiment()"


def as_script(experiment: Experiment, history: pd.DataFrame, facts: RunFacts | None, name: str) -> str:
    """A program that trains the run again and ends with an error unless every score is the recorded one, to the last bit."""
    about = f'"""{_line(name)}: a run of ILoRA Lab, trained again.\n\n{needs(facts)}\n"""\n'
    return "\n".join([about, *_steps(experiment, history, facts)])


def as_notebook(experiment: Experiment, history: pd.DataFrame, facts: RunFacts | None, name: str) -> str:
    """The same as a notebook (JSON of nbformat 4.5)."""
    title = f"# {_line(name)}\n\nA run of ILoRA Lab, trained again. {needs(facts)}"
    return notebook([("markdown", title), *(("code", step) for step in _steps(experiment, history, facts))])


def notebook(cells: Sequence[tuple[str, str]]) -> str:
    """A notebook of cells, each ("markdown" or "code", text), as JSON."""
    whole = {
        "cells": [_cell(kind, text.strip("\n"), f"cell-{i:02d}") for i, (kind, text) in enumerate(cells)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def needs(facts: RunFacts | None) -> str:
    """On what the numbers hang, beside the experiment."""
    if facts is None:
        return "It needs the package ilora."
    return (
        f"It needs the package ilora. The run was computed on {facts.device} in {facts.precision} with {_threads(facts)};"
        " another device or another number of threads may change the last digits."
    )


def _steps(experiment: Experiment, history: pd.DataFrame, facts: RunFacts | None) -> tuple[str, str, str]:
    """The settings, the training, and the comparison with what was recorded."""
    metric = main_score(history.columns).removeprefix(SCORE)
    recorded = "".join(f"    {float(value)!r},\n" for value in history["accuracy"])
    return (
        "import torch\n\nimport ilora\n\n"
        f"torch.set_num_threads({facts.threads if facts else 1})  # threads are part of the bits\n"
        f"experiment = {as_python(experiment)}\n",
        f"RECORDED = [  # {metric} on the test set after each round\n{recorded}]\n\nscores = []\n"
        "for round in ilora.simulate(experiment):\n"
        "    scores.append(round.score)\n"
        '    print(f"round {round.index}: {round.metric} {round.score:.4f}, aggregation error {round.aggregation_error:.2%}")\n'
        "    if len(scores) == len(RECORDED):\n"
        "        break\n",
        'assert scores == RECORDED, f"recorded were {RECORDED}"\nprint("The same numbers as the recorded run.")\n',
    )


def _cell(kind: str, text: str, name: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


def _literal(value: Any) -> str:
    return repr(dict(value)) if isinstance(value, Mapping) else repr(list(value) if isinstance(value, tuple) else value)


def _line(text: str) -> str:
    """A text that may stand in a docstring and in Markdown."""
    return " ".join(text.replace("\\", "/").replace('"', "'").split())


def _threads(facts: RunFacts) -> str:
    return f"{facts.threads} thread{'' if facts.threads == 1 else 's'}"

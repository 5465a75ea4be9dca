"""An experiment from the command line's flags: one for each field, and --option for the method's ingredients."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from ilora.experiment import DEVICES, ENGINES, OPTIMIZERS, PRECISIONS, RANK_PROFILES, SKEWS, Experiment
from ilora.lab.content.presets import preset
from ilora.methods import METHODS
from ilora.tasks import TASKS

ABOUT = {
    "task": f"data and backbone: {', '.join(TASKS)}",
    "method": f"{', '.join(METHODS)}; `python -m ilora methods` explains them",
    "ranks": f"one rank per client, as in 2,4,6, or a profile: {', '.join(RANK_PROFILES)}",
    "clients": "how many clients a profile of ranks is for",
    "skew": "; ".join(f"{name}: {about}" for name, about in SKEWS.items()),
    "alpha": "Dirichlet concentration for the skews label and quantity",
    "shards": "shards per client for the skew shards",
    "noisy_clients": "how many clients, drawn by the seed, hold random labels",
    "left_out": "clients, counted from 0, that never take part, as in 0,3",
    "participation": "share of the clients that take part in a round, up to 1",
    "rounds": "communication rounds",
    "local_steps": "optimizer steps of each client in a round",
    "local_epochs": "instead of local steps: passes of each client over its own samples in a round",
    "batch_size": "samples in each step",
    "optimizer": ", ".join(OPTIMIZERS),
    "lr": "learning rate of the clients",
    "scaling": "LoRA scaling: a number, 16/r or 16/sqrt(r); the method's own if not said",
    "backbone": "the frozen model, for some tasks any transformers model by name or folder; the task's own if not said",
    "data": "the folder of files that do not come with the program; data/cache, filled by one download, if not said",
    "adapter": "the folder of a PEFT adapter to start from",
    "targets": "the linears that get adapters, as in query,value; the task's own if not said",
    "seed": "of every random draw",
    "device": ", ".join(DEVICES),
    "precision": "; ".join(f"{name}: {about}" for name, about in PRECISIONS.items()),
    "engine": "; ".join(f"{name}: {about}" for name, about in ENGINES.items()),
}


def add_experiment(parser: argparse.ArgumentParser, skip: Iterable[str]) -> None:
    """One flag for each field of Experiment, and --option for the method's ingredients."""
    for field in fields(Experiment):
        if field.name in ABOUT and field.name not in skip:
            default = f" (default: {field.default})" if field.default not in ((), "", None) else ""
            about = f"{ABOUT[field.name]}{default}".replace("%", "%%")
            parser.add_argument(
                f"--{field.name.replace('_', '-')}", dest=f"field_{field.name}", metavar=field.name.upper(), help=about
            )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a stage's ingredient or an option of one; may be repeated",
    )


def read_experiment(chosen: argparse.Namespace, method: str | None = None, mode: str | None = None) -> Experiment:
    """The experiment that the flags describe; ValueError naming the field that is wrong."""
    query = {
        name.removeprefix("field_"): text for name, text in vars(chosen).items() if name.startswith("field_") and text is not None
    }
    options = dict(_read_option(text) for text in chosen.option)
    if mode is not None:
        options["mode"] = mode
    if method is not None:
        query["method"] = method
    named = getattr(chosen, "preset", None)
    return Experiment.from_query((preset(named).query() if named else {}) | query | {"options": json.dumps(options)})


def _read_option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ValueError(f"option is {text!r}; allowed: NAME=VALUE.")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        number = json.loads(value)
    except ValueError:
        return name, value
    return name, number if isinstance(number, int | float) else value

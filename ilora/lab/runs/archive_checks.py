"""Checks of an archive's contents: what cannot be trained or shown does not come in. Each raises ValueError with the reason."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ilora.checks import number, whole
from ilora.experiment import MOST_RANK, Experiment
from ilora.lab.runs.archive_limits import NUMBER
from ilora.lab.runs.metrics import MOST
from ilora.lab.runs.run import LATEST_TIME, MOST_SECONDS
from ilora.records import BINS, MOST_PAIRED, Array, Round, RunFacts
from ilora.tasks import TASKS

FORMAT = "ilora-lab-run-1"
MOST_NOTE = 100_000  # characters
MOST_NAME = 200  # characters of a class, a layer, a style
MOST_CLASSES = 1_000
MOST_THREADS = 256
MOST_LAYERS = 2_000
MOST_DIMENSION = 2**17  # of a layer
WIDER = 8  # times as wide as the smallest layers of a backbone its widest may be
MOST_COUNT = 10**12  # parameters, samples
TIMES = {"created": LATEST_TIME, "started": LATEST_TIME, "ended": LATEST_TIME, "seconds_per_round": MOST_SECONDS}


def check_about(about: Any) -> Experiment:
    """Check what run.json says beside facts and rounds; returns its experiment."""
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"run.json is not of the format {FORMAT}")
    for name, kind in (("name", str), ("note", str), ("experiment", dict), ("times", dict), ("rounds", list)):
        if not isinstance(about[name], kind):
            raise ValueError(f"{name} in run.json is not a {kind.__name__}")
    for name in ("name", "note"):
        about[name].encode()  # half a character cannot be shown
        if len(about[name]) > MOST_NOTE:
            raise ValueError(f"{name} in run.json has {len(about[name]):,} characters; allowed: {MOST_NOTE:,}")
    for name, most in TIMES.items():
        if about["times"][name] is not None:
            number(f"{name} in run.json", about["times"][name], 0, most)
    experiment = Experiment.from_dict(about["experiment"])
    if len(about["rounds"]) > experiment.rounds or (about["rounds"] and about["facts"] is None):
        raise ValueError("it has more rounds than its experiment, or rounds without facts")
    return experiment


def check_facts(values: Any, experiment: Experiment) -> RunFacts:
    """Check the facts of a run against its experiment; returns them."""
    counts = {"clients": 1_000, "threads": MOST_THREADS, "test_samples": MOST_COUNT}
    counts |= {"backbone_parameters": MOST_COUNT, "head_parameters": MOST_COUNT}
    for name, most in counts.items():
        _whole(name, values[name], int(name in ("clients", "threads")), most)
    K, classes = experiment.clients or 1, _texts("classes", values["classes"], MOST_CLASSES)
    if values["clients"] != K:
        raise ValueError("its facts are not about the clients of its experiment")
    if not TASKS[experiment.task].regression and len(classes) != len(TASKS[experiment.task].classes):
        raise ValueError(f"its facts name {len(classes)} classes")
    for name, least, most in (("ranks", 1, MOST_RANK), ("samples", 0, MOST_COUNT), ("adapter_parameters", 0, MOST_COUNT)):
        _wholes(name, values[name], K, least, most)
    for row in _listed("class_counts", values["class_counts"], K):
        _wholes("class_counts", row, len(classes), 0, MOST_COUNT)
    _check_layers(_texts("layers", values["layers"], MOST_LAYERS), values["shapes"], experiment)
    styles = _texts("styles", values.get("styles", []), K)
    if len(styles) not in (0, K):
        raise ValueError("its facts are not about the clients of its experiment")
    noisy = values.get("noisy", [])
    _wholes("noisy", noisy, min(K, len(noisy)), 0, K - 1)
    _texts("device", [values["device"], values["precision"]], 2)
    return RunFacts.from_json(json.dumps(values))


def _check_layers(layers: list[str], shapes: Any, experiment: Experiment) -> None:
    """The layers that carry adapters; of a backbone of the catalogue it is known how wide they are."""
    card = TASKS[experiment.task].backbones.get(experiment.backbone)
    widest = WIDER * max(max(pair) for pair in card.linears.values()) if card else MOST_DIMENSION
    for shape in _listed("shapes", shapes, len(layers)):
        _wholes("shapes", shape, 2, 1, widest)
    if len(set(layers)) < len(layers):
        raise ValueError("its facts name a layer twice")


def check_round(round: Round, first: Round | None, facts: RunFacts, file: str) -> None:
    """See that the arrays of a round have the shapes that records.py promises, and those of the run's first round."""
    for name, array in round.arrays().items():
        large = array.dtype.itemsize >= NUMBER and np.any(np.abs(array) > MOST)
        if array.dtype.kind not in "biuf" or large or np.any(np.isinf(array)):
            raise ValueError(f"{name} in {file} has numbers that are not finite")
    _check_clients(round, facts, file)
    C = len(round.clients["id"])
    for layer, record in round.layers.items():
        shapes = _shapes(C) | ({} if first is None else _lengths(first.layers[layer]))
        for f in fields(record):
            value = getattr(record, f.name)
            good = isinstance(value, int | float) if f.type is float else np.ndim(value) == 1 or f.name in shapes
            if not good or np.shape(value) != shapes.get(f.name, np.shape(value)):
                raise ValueError(f"{f.name} of layer {layer} in {file} has another shape")
    _check_pictures(round.pictures, facts, file)
    _check_factors(round.factors, facts, file)


def _check_clients(round: Round, facts: RunFacts, file: str) -> None:
    columns = {np.shape(column)[:1] for column in round.clients.values()}
    complete = {"id", "rank", "samples", "weight"} <= set(round.clients) and set(round.layers) == set(facts.layers)
    if not complete or len(columns) != 1 or len(next(iter(columns))) != 1:
        raise ValueError(f"{file} is about other clients or layers")
    ids = round.clients["id"]
    known = ids.dtype.kind in "iu" and np.isin(ids, np.arange(facts.clients)).all()
    if not known or ids.ndim != 1 or not len(ids) or len(set(ids.tolist())) < len(ids):
        raise ValueError(f"{file} is about other clients or layers")
    for name in ("rank", "samples", "weight"):
        column = round.clients[name]
        if column.ndim != 1 or not np.all(column >= 0):
            raise ValueError(f"{name} of the clients in {file} is not what a client can have")


def _shapes(C: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's arrays that cover clients."""
    M = min(C, MOST_PAIRED)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("drift_clients", "movement_norm", "broadcast_error"), (C,))
    shapes |= dict.fromkeys(("cosines", "overlap_columns", "overlap_rows", "overlap_chance", "angles"), (M, M))
    return shapes | dict.fromkeys(("overlap_columns_global", "overlap_rows_global", "angles_global"), (M,))


def _lengths(record: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a layer's arrays that cover the server's slots: the same in every round."""
    return {name: np.shape(getattr(record, name)) for name in ("singular_values", "singular_values_ideal", "coverage")}


def _check_pictures(pictures: Mapping[str, Array], facts: RunFacts, file: str) -> None:
    for name, array in pictures.items():
        kind = name.rpartition("/")[2]
        good = array.ndim <= 4 and np.isfinite(array).all()
        if kind in ("bins", "single bins"):
            good &= array.shape == (3, BINS)
        elif kind == "labels":
            good &= array.dtype.kind in "iu" and array.size > 0 and array.min() >= 0 and array.max() < len(facts.classes)
        elif kind == "probabilities":
            good &= array.ndim == 3 and array.shape[2] == len(facts.classes)
        elif kind == "images":
            good &= array.ndim == 4 and array.dtype == np.uint8
        if not good:
            raise ValueError(f"picture {name} in {file} has another shape")


def _check_factors(factors: Mapping[str, Array], facts: RunFacts, file: str) -> None:
    for name, array in factors.items():
        layer, _, factor = (*name.rsplit("/", 2), "", "")[:3]
        if layer not in facts.layers or factor not in ("A", "B") or array.ndim not in (2, 3):
            raise ValueError(f"{name} in {file} is no factor")
        other = factors.get(f"{name[:-1]}B")
        if factor == "A" and other is not None and array.shape[:-1] != (*other.shape[:-2], other.shape[-1]):
            raise ValueError(f"{name} in {file} and its B are not of one rank")


def _whole(name: str, value: Any, least: int, most: int) -> None:
    if not isinstance(value, int):
        raise ValueError(f"{name} in its facts is no whole number")
    whole(f"{name} in its facts", value, least, most)


def _wholes(name: str, values: Any, count: int, least: int, most: int) -> None:
    for value in _listed(name, values, count):
        _whole(name, value, least, most)


def _listed(name: str, values: Any, count: int) -> list[Any]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"{name} in its facts is not a list of {count}")
    return values


def _texts(name: str, values: Any, most: int) -> list[str]:
    """A list of short lines of text."""
    if not isinstance(values, list) or len(values) > most:
        raise ValueError(f"{name} in its facts is not a list of at most {most:,}")
    for value in values:
        if not (isinstance(value, str) and len(value) <= MOST_NAME and value.isprintable()):
            raise ValueError(f"{name} in its facts is not what can be shown")
    return values

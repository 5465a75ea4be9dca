"""Training samples as the app shows them, and who would hold them: plain numpy, at once, before any run.

Kept for the embedded task only; of other tasks a run's facts say who holds how many.
"""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors.numpy import load_file

from ilora.experiment import Experiment
from ilora.partition import Shares, class_counts, partition
from ilora.records import Array, RunFacts
from ilora.tasks import TASKS, data_folder


class Samples(NamedTuple):
    """labels (n,), pictures (n, height, width) in 0..255."""

    labels: Array
    pictures: Array


class Holdings(NamedTuple):
    """Who holds what: shares of sample indices, and the same as counts (K, classes)."""

    shares: Shares
    counts: Array


def file_of(task: str) -> Path:
    """Where the samples of a task would be."""
    return data_folder() / f"{task}-samples.safetensors"


@lru_cache(maxsize=4)
def samples_of(task: str) -> Samples | None:
    """The training samples of a task in the order in which runs number them; None where they are not kept."""
    if not file_of(task).exists():
        return None
    kept = load_file(file_of(task))
    return Samples(kept["labels"].astype(np.int64), kept["pictures"])


def holdings(experiment: Experiment) -> Holdings | None:
    """Who holds what in an experiment, as its run will have it; None where the task's samples are not kept."""
    samples = samples_of(experiment.task)
    if samples is None:
        return None
    e = experiment
    shares = partition(samples.labels, e.clients or 1, e.skew, alpha=e.alpha, shards=e.shards, seed=e.seed)
    return Holdings(shares, class_counts(samples.labels, shares, len(TASKS[e.task].classes)))


def facts_of(experiment: Experiment, held: Holdings) -> RunFacts:
    """What can be said of a run before it is started."""
    return RunFacts(
        clients=len(held.shares),
        ranks=np.array(experiment.client_ranks),
        samples=held.counts.sum(1),
        class_counts=held.counts,
        classes=TASKS[experiment.task].classes,
        layers=(),
        shapes=(),
        device="",
        precision=experiment.precision,
        threads=0,
        test_samples=TASKS[experiment.task].test_samples,
        backbone_parameters=0,
        adapter_parameters=np.zeros(len(held.shares), dtype=np.int64),
        head_parameters=0,
    )


def entropy(counts: Array) -> Array:
    """(K,) how many classes each client really sees: exp of the entropy of its class shares."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.exp(-(shares * logs).sum(1))


def some_of(samples: Samples, share: Array, count: int) -> Array:
    """(count, height, width) pictures of one client, spread evenly over its classes; blank where it has fewer."""
    ordered = share[np.argsort(samples.labels[share], kind="stable")]
    chosen = ordered[np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)]
    blank = np.zeros((count - len(chosen), *samples.pictures.shape[1:]), dtype=samples.pictures.dtype)
    return np.concatenate([samples.pictures[chosen], blank])

"""Who holds what: the task's samples as its clients see them, split, in styles or with random labels as an experiment asks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ilora import attributes
from ilora.experiment import Experiment
from ilora.partition import (
    bin_names,
    class_counts,
    client_styles,
    label_borders,
    label_groups,
    noisy_clients,
    partition,
    with_random_labels,
)
from ilora.tasks.base import Data, Task


@dataclass(frozen=True)
class Holdings:
    """The samples of all N clients, and those on which they and the server are tested."""

    train: Data  # as the clients see it: each one's samples in its own style
    test: Data  # as the server is tested: in all styles, the samples taking them in turn
    plain_test: Data
    more_tests: Mapping[str, Data]
    test_groups: Tensor  # (n,) the class of every test sample, or the bin of its label
    shares: list[np.ndarray]  # each client's sample indices
    classes: tuple[str, ...]
    class_counts: np.ndarray  # (N, C)
    styles: tuple[str, ...]  # each client's, under attribute skew
    noisy: tuple[int, ...]  # the clients that hold random labels


def hold(task: Task, e: Experiment, device: str) -> Holdings:
    """Deal the task's training samples to the experiment's clients, on `device`."""
    clients, labels = len(e.client_ranks), task.train.labels.numpy()
    groups, classes = label_groups(labels), task.card.classes or bin_names(labels)
    shares = partition(groups, clients, e.skew, alpha=e.alpha, shards=e.shards, seed=e.seed)
    train, plain_test = task.train.to(device), task.test.to(device)
    styles = client_styles(task.card.styles, clients) if e.skew == "attribute" else ()
    if styles:
        train = attributes.dressed(train, shares, styles, task.styles)
    noisy = noisy_clients(clients, e.noisy_clients, e.seed)
    if noisy:
        mixed = with_random_labels(labels, shares, noisy, e.seed)
        train = replace(train, labels=torch.from_numpy(mixed).to(device))
    borders = label_borders(labels) if task.card.regression else None
    return Holdings(
        train=train,
        test=attributes.in_all_styles(plain_test, styles, task.styles) if styles else plain_test,
        plain_test=plain_test,
        more_tests={name: data.to(device) for name, data in task.more_tests.items()},
        test_groups=torch.from_numpy(label_groups(task.test.labels.numpy(), borders)).to(device),
        shares=shares,
        classes=classes,
        class_counts=class_counts(groups, shares, len(classes)),
        styles=styles,
        noisy=noisy,
    )

"""Who holds what: the task's samples as its clients see them, split, in styles or with random labels as an experiment asks."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ilora.clients import attribute_skew
from ilora.clients.partition import deal, label_borders, label_groups
from ilora.experiment import Experiment
from ilora.tasks.base import Data, Task


@dataclass(frozen=True)
class ClientData:
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


def load_client_data(task: Task, e: Experiment, device: str) -> ClientData:
    """Deal the task's training samples to the experiment's clients, on `device`."""
    labels = task.train.labels.numpy()
    dealt = deal(e, labels, task.card.classes, task.card.styles)
    train, plain_test, styles = task.train.to(device), task.test.to(device), dealt.styles
    if styles:
        train = attribute_skew.dressed(train, dealt.shares, styles, task.styles)
    if dealt.noisy:
        train = replace(train, labels=torch.from_numpy(dealt.labels).to(device))
    borders = label_borders(labels) if task.card.regression else None
    return ClientData(
        train=train,
        test=attribute_skew.in_all_styles(plain_test, styles, task.styles) if styles else plain_test,
        plain_test=plain_test,
        more_tests={name: data.to(device) for name, data in task.more_tests.items()},
        test_groups=torch.from_numpy(label_groups(task.test.labels.numpy(), borders)).to(device),
        shares=dealt.shares,
        classes=dealt.classes,
        class_counts=dealt.counts,
        styles=styles,
        noisy=dealt.noisy,
    )

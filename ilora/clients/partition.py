"""Who holds what: the samples of a task spread over clients.

No client is ever empty: while one is, it takes one sample from the client that holds most.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.randomness import numpy_generator

Shares = list[np.ndarray]  # sample indices, one array per client
LABEL_BINS = 5  # of a regression's labels: its stand-ins for classes


class Dealt(NamedTuple):
    """Who holds what."""

    shares: Shares  # each client's sample indices
    groups: np.ndarray  # (n,) the class of every sample, or the bin of its label
    labels: np.ndarray  # (n,) as the clients hold them: random at noisy clients
    counts: np.ndarray  # (K, classes), by the true labels
    classes: tuple[str, ...]  # of a regression: the bins of its labels
    styles: tuple[str, ...]  # (K,) under attribute skew
    noisy: tuple[int, ...]  # clients that hold random labels


def deal(e: Experiment, labels: np.ndarray, classes: tuple[str, ...], styles: tuple[str, ...]) -> Dealt:
    """Deal samples with these labels (n,) to an experiment's clients; FieldError for more clients than samples.

    classes and styles: those of the samples, which may have none of either.
    """
    clients = len(e.client_ranks)
    groups, classes = label_groups(labels), classes or bin_names(labels)
    shares = partition(groups, clients, e.skew, alpha=e.alpha, shards=e.shards, seed=e.seed)
    noisy = noisy_clients(clients, e.noisy_clients, e.seed)
    return Dealt(
        shares,
        groups,
        with_random_labels(labels, shares, noisy, e.seed) if noisy else labels,
        class_counts(groups, shares, len(classes)),
        classes,
        client_styles(styles, clients) if e.skew == "attribute" else (),
        noisy,
    )


def partition(labels: np.ndarray, clients: int, skew: str, *, alpha: float = 0.3, shards: int = 2, seed: int = 0) -> Shares:
    """Spread samples over clients: K arrays of indices, disjoint, together all samples, none empty.

    labels (n,), classes or bins (`label_groups`); skew: "iid", "label", "shards", "quantity", or "attribute": as iid, what
    differs are the samples themselves (`attributes`). FieldError for more clients than samples.
    """
    if clients > len(labels):
        allowed = f"at most {len(labels)}, one sample for each"
        raise FieldError("clients", clients, allowed, f"clients is {clients}; allowed are {allowed}.")
    random = numpy_generator(seed, "partition", skew)
    if skew in ("iid", "attribute"):
        shares = iid(labels, clients, random)
    elif skew == "label":
        shares = dirichlet_labels(labels, clients, alpha, random)
    elif skew == "shards":
        shares = sorted_shards(labels, clients, shards, random)
    elif skew == "quantity":
        shares = dirichlet_quantities(labels, clients, alpha, random)
    else:
        allowed = "iid, label, shards, quantity, attribute"
        raise FieldError("skew", skew, allowed, f"skew is {skew!r}; allowed are {allowed}.")
    return [np.sort(share) for share in fill_empty(shares)]


def label_groups(labels: np.ndarray, borders: np.ndarray | None = None) -> np.ndarray:
    """(n,) what label skew sorts by: the class itself, or, for labels that are numbers, which of LABEL_BINS quantile bins.

    borders: those of other labels (`label_borders`), so that test samples fall into the bins of the training samples.
    """
    if not np.issubdtype(labels.dtype, np.floating):
        return labels
    return np.searchsorted(label_borders(labels) if borders is None else borders, labels, side="right")


def label_borders(labels: np.ndarray) -> np.ndarray:
    """The LABEL_BINS - 1 borders between bins that hold about equally many of these numbers."""
    return np.quantile(labels, np.arange(1, LABEL_BINS) / LABEL_BINS)


def bin_names(labels: np.ndarray) -> tuple[str, ...]:
    """The bins of labels that are numbers, as the screen names them."""
    ends = [labels.min(), *label_borders(labels), labels.max()]
    return tuple(f"{low:.3g} to {high:.3g}" for low, high in itertools.pairwise(ends))


def iid(labels: np.ndarray, clients: int, random: np.random.Generator) -> Shares:
    """Equal shares of the shuffled samples."""
    return np.array_split(random.permutation(len(labels)), clients)


def dirichlet_labels(labels: np.ndarray, clients: int, alpha: float, random: np.random.Generator) -> Shares:
    """Each class is spread by one Dirichlet(alpha) draw, floored at 0.001 and renormalised (as ILoRA's code does)."""
    shares: list[list[np.ndarray]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        portions = np.maximum(random.dirichlet(np.full(clients, alpha)), 0.001)
        for share, part in zip(shares, _cut(members, portions), strict=True):
            share.append(part)
    return [np.concatenate(parts) for parts in shares]


def sorted_shards(labels: np.ndarray, clients: int, shards: int, random: np.random.Generator) -> Shares:
    """Samples sorted by label, cut into clients x shards pieces, `shards` random pieces for each client (McMahan et al. 2017)."""
    order = random.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    pieces = np.array_split(order, clients * shards)
    hands = random.permutation(clients * shards).reshape(clients, shards)
    return [np.concatenate([pieces[piece] for piece in hand]) for hand in hands]


def dirichlet_quantities(labels: np.ndarray, clients: int, alpha: float, random: np.random.Generator) -> Shares:
    """Shuffled samples in amounts drawn from Dirichlet(alpha)."""
    return _cut(random.permutation(len(labels)), random.dirichlet(np.full(clients, alpha)))


def fill_empty(shares: Shares) -> Shares:
    """Give every empty client one sample of the client that holds most."""
    shares = list(shares)
    for k in range(len(shares)):
        if len(shares[k]) == 0:
            richest = max(range(len(shares)), key=lambda j: len(shares[j]))
            shares[k], shares[richest] = shares[richest][-1:], shares[richest][:-1]
    return shares


def noisy_clients(clients: int, noisy: int, seed: int) -> tuple[int, ...]:
    """Which clients hold random labels: `noisy` of all, ascending; with one more, the same ones and another."""
    return tuple(sorted(numpy_generator(seed, "noisy clients").permutation(clients)[:noisy].tolist()))


def with_random_labels(labels: np.ndarray, shares: Shares, noisy: tuple[int, ...], seed: int) -> np.ndarray:
    """(n,) the labels, those of the noisy clients' samples drawn anew from all that occur, each as likely."""
    mixed = labels.copy()
    for k in noisy:
        mixed[shares[k]] = numpy_generator(seed, "noisy labels", k).choice(np.unique(labels), len(shares[k]))
    return mixed


def client_styles(styles: Sequence[str], clients: int) -> tuple[str, ...]:
    """The style of each client, K of them: the task's styles in turn."""
    return tuple(styles[k % len(styles)] for k in range(clients))


def class_counts(labels: np.ndarray, shares: Shares, classes: int) -> np.ndarray:
    """(K, classes): how many samples of each class every client holds."""
    return np.stack([np.bincount(labels[share], minlength=classes) for share in shares])


def _cut(members: np.ndarray, portions: np.ndarray) -> Shares:
    ends = np.round(np.cumsum(portions / portions.sum())[:-1] * len(members)).astype(int)
    return np.split(members, ends)

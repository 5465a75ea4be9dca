"""Who holds what: every sample belongs to exactly one client, and no client is ever empty."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.clients.partition import class_counts, fill_empty, noisy_clients, partition, with_random_labels
from ilora.experiment import SKEWS

LABELS = np.random.default_rng(0).integers(0, 10, 1437)
some = settings(max_examples=120, deadline=None, derandomize=True)


@given(
    n=st.integers(1, 120),
    classes=st.integers(1, 12),
    fraction=st.floats(0, 1),
    skew=st.sampled_from(list(SKEWS)),
    alpha=st.sampled_from([0.001, 0.01, 0.3, 1.0, 1000.0]),
    shards=st.integers(1, 100),
    seed=st.integers(0, 2**31 - 1),
)
@some
def test_shares_are_disjoint_complete_and_never_empty(n, classes, fraction, skew, alpha, shards, seed):
    labels = np.random.default_rng(seed).integers(0, classes, n)
    clients = 1 + round(fraction * (n - 1))
    shares = partition(labels, clients, skew, alpha=alpha, shards=shards, seed=seed)
    assert len(shares) == clients
    assert min(len(share) for share in shares) >= 1
    assert sorted(np.concatenate(shares).tolist()) == list(range(n))


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("clients", [1, 1000, 1437])
def test_it_holds_for_the_embedded_task_up_to_one_sample_each(skew, clients):
    shares = partition(LABELS, clients, skew, alpha=0.001)
    assert sorted(np.concatenate(shares).tolist()) == list(range(1437))
    assert min(map(len, shares)) >= 1


@pytest.mark.parametrize("skew", SKEWS)
def test_the_same_seed_gives_the_same_shares_and_another_seed_others(skew):
    first, again, other = (partition(LABELS, 8, skew, seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not all(np.array_equal(x, y) for x, y in zip(first, other, strict=True))


def mixture_distance(alpha: float) -> float:
    """Mean total variation between a client's class mix and everyone's."""
    distances = []
    for seed in range(5):
        counts = class_counts(LABELS, partition(LABELS, 8, "label", alpha=alpha, seed=seed), 10)
        mix, whole = counts / counts.sum(1, keepdims=True), counts.sum(0) / counts.sum()
        distances.append(np.abs(mix - whole).sum(1).mean() / 2)
    return float(np.mean(distances))


def test_the_smaller_alpha_the_fewer_classes_a_client_sees():
    far, middle, near = (mixture_distance(alpha) for alpha in (0.05, 0.5, 1000))
    assert far > 0.6 > middle > 0.15 > near


def test_a_huge_alpha_is_nearly_equal_shares():
    for skew in ("label", "quantity"):
        sizes = np.array([len(share) for share in partition(LABELS, 8, skew, alpha=1000)])
        assert np.abs(sizes - 1437 / 8).max() < 25


def test_quantity_skew_gives_unequal_amounts_of_the_same_mix():
    shares = partition(LABELS, 4, "quantity", alpha=0.5, seed=3)
    counts = class_counts(LABELS, shares, 10)
    assert counts.sum(1).max() > 3 * counts.sum(1).min()
    large = counts[counts.sum(1) > 200]
    assert np.abs(large / large.sum(1, keepdims=True) - 0.1).max() < 0.06


def test_iid_shares_differ_by_one_sample_at_most():
    sizes = [len(share) for share in partition(LABELS, 10, "iid")]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_a_client_with_s_shards_sees_few_classes(shards):
    counts = class_counts(LABELS, partition(LABELS, 10, "shards", shards=shards), 10)
    assert (counts > 0).sum(1).max() <= 2 * shards
    assert counts.sum(1).max() - counts.sum(1).min() <= shards


def test_a_noisy_client_holds_random_labels_and_nobody_else_does():
    shares = partition(LABELS, 6, "label")
    noisy = noisy_clients(6, 2, seed=1)
    mixed = with_random_labels(LABELS, shares, noisy, seed=1)
    for k, share in enumerate(shares):
        wrong = (mixed[share] != LABELS[share]).mean()
        assert (0.75 < wrong < 1) if k in noisy else wrong == 0
    np.testing.assert_array_equal(mixed, with_random_labels(LABELS, shares, noisy, seed=1))


def test_one_more_noisy_client_leaves_the_others_as_they_were():
    for count in range(1, 8):
        assert set(noisy_clients(8, count - 1, seed=3)) < set(noisy_clients(8, count, seed=3))
        assert len(noisy_clients(8, count, seed=3)) == count


def test_class_counts_count():
    counts = class_counts(np.array([0, 1, 1, 2]), [np.array([0, 1]), np.array([2, 3])], 4)
    assert counts.tolist() == [[1, 1, 0, 0], [0, 1, 1, 0]]


def test_an_empty_client_takes_one_sample_of_the_richest():
    shares = fill_empty([np.array([], int), np.array([5]), np.array([1, 2, 3])])
    assert [share.tolist() for share in shares] == [[3], [5], [1, 2]]


def test_more_clients_than_samples_and_an_unknown_skew_are_refused():
    with pytest.raises(ValueError, match=r"^clients is 5; allowed are at most 4"):
        partition(np.zeros(4, int), 5, "iid")
    with pytest.raises(ValueError, match=r"^skew is 'odd'; allowed are iid, label, shards, quantity, attribute"):
        partition(np.zeros(4, int), 2, "odd")

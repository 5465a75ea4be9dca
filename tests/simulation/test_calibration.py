"""Calibration, disagreement and entropies, against counting by hand and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from ilora.simulation.calibration import brier, calibration_error, disagreement, ensemble, entropy, epistemic, reliability

some = settings(max_examples=60, deadline=None, derandomize=True)


def draw(members: int, samples: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng((members, samples, classes, seed))
    p = random.dirichlet(np.full(classes, 0.5), (members, samples))
    return torch.tensor(p), torch.tensor(random.integers(0, classes, samples))


sizes = given(st.integers(1, 5), st.integers(1, 40), st.integers(2, 6), st.integers(0, 99))


@sizes
@some
def test_calibration_error_is_the_plain_loop(members, samples, classes, seed):
    p, labels = (tensor.numpy() for tensor in draw(members, samples, classes, seed))
    gaps = 0.0
    for low in range(10):
        inside = [i for i in range(samples) if min(9, int(p[0, i].max() * 10)) == low]
        if inside:
            right = np.mean([p[0, i].argmax() == labels[i] for i in inside])
            gaps += len(inside) / samples * abs(right - np.mean([p[0, i].max() for i in inside]))
    bins = reliability(torch.tensor(p[0]), torch.tensor(labels))
    assert calibration_error(bins) == pytest.approx(gaps)
    assert bins.samples.sum() == samples


@sizes
@some
def test_brier_loss_and_disagreement_are_counted_by_hand(members, samples, classes, seed):
    p, labels = draw(members, samples, classes, seed)
    truth = np.eye(classes)[labels.numpy()]
    assert brier(p[0], labels) == pytest.approx(((p[0].numpy() - truth) ** 2).sum(1).mean())
    found = ensemble(p, labels)
    assert found.loss == pytest.approx(log_loss(labels, p.mean(0), labels=range(classes)), abs=1e-9)
    answers = p.argmax(-1).numpy()
    pairs = [(answers[i] != answers[j]).mean() for i in range(members) for j in range(i)]
    if pairs:
        assert disagreement(p) == pytest.approx(np.mean(pairs))
    else:
        assert np.isnan(disagreement(p))


@sizes
@some
def test_total_uncertainty_splits_into_two_parts_that_are_not_negative(members, samples, classes, seed):
    p, labels = draw(members, samples, classes, seed)
    found = ensemble(p, labels)
    assert found.epistemic + found.aleatoric == pytest.approx(float(entropy(p.mean(0)).mean()), abs=1e-9)
    assert found.epistemic >= 0
    assert found.aleatoric >= 0


def test_members_that_say_the_same_disagree_on_nothing():
    p, labels = draw(1, 20, 4, 0)
    same = p.expand(5, -1, -1)
    assert disagreement(same) == 0
    assert float(epistemic(same).max()) == pytest.approx(0, abs=1e-12)
    assert ensemble(same, labels).accuracy == ensemble(p, labels).accuracy == ensemble(same, labels).member_accuracy


def test_members_that_are_sure_of_different_things_are_all_epistemic():
    found = ensemble(torch.eye(2)[:, None].expand(2, 3, 2).double(), torch.zeros(3, dtype=torch.long))
    assert (found.disagreement, found.aleatoric) == (1, 0)
    assert found.epistemic == pytest.approx(np.log(2))


def test_a_model_that_is_right_as_often_as_it_is_sure_is_calibrated():
    p = torch.tensor([[0.75, 0.25]] * 4)
    assert calibration_error(reliability(p, torch.tensor([0, 0, 0, 1]))) == pytest.approx(0)
    assert calibration_error(reliability(p, torch.tensor([0, 1, 1, 1]))) == pytest.approx(0.5)
    assert calibration_error(reliability(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))) == 0  # the last bin takes 1 in

"""Made-up clients have the overlap, spectrum and products that were asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from ilora.diagnostics import overlap
from ilora.lab.analysis.synthetic_clients import make_clients
from ilora.lora.low_rank import norm

RANKS = [2, 4, 3]


def spaces(factors):
    return [torch.linalg.qr(B.double()).Q for _, B in factors], [torch.linalg.qr(A.double().T).Q for A, _ in factors]


@settings(max_examples=15, deadline=None)
@given(some.floats(0, 1), some.floats(0, 1), some.integers(0, 1000))
def test_any_two_clients_overlap_as_asked_whatever_the_rotation(phi, rotation, seed):
    for side in spaces(make_clients(RANKS, 32, overlap=phi, rotation=rotation, seed=seed)):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert float(overlap(side[i], side[j])) == pytest.approx(phi, abs=1e-4)


def test_overlap_zero_is_orthogonal_and_one_is_the_same_space():
    apart, same = (make_clients([3, 3], 32, overlap=phi) for phi in (0.0, 1.0))
    assert float((apart[0].B.T @ apart[1].B).abs().max()) < 1e-5
    torch.testing.assert_close(same[0].product(), same[1].product(), atol=1e-5, rtol=0)


def test_rotation_changes_the_factors_but_no_product():
    still, turned = (make_clients(RANKS, 32, rotation=rotation) for rotation in (0.0, 1.0))
    for a, b in zip(still, turned, strict=True):
        torch.testing.assert_close(a.product(), b.product(), atol=1e-5, rtol=0)
        assert float((a.A - b.A).norm()) > 0.1


def test_singular_values_decay_as_asked():
    for factors in make_clients(RANKS, 32, decay=0.5):
        sigma = torch.linalg.svdvals(factors.product())[: factors.rank]
        torch.testing.assert_close(sigma, 0.5 ** torch.arange(factors.rank).float(), atol=1e-5, rtol=0)


def test_noise_is_a_share_of_each_factor():
    for clean, noisy in zip(make_clients(RANKS, 32), make_clients(RANKS, 32, noise=0.3), strict=True):
        assert float((noisy.A - clean.A).norm() / clean.A.norm()) == pytest.approx(0.3, rel=1e-4)
        assert norm(noisy) > 0


def test_the_same_seed_gives_the_same_clients_and_another_one_others():
    one, again, other = (make_clients(RANKS, 32, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.A, b.A) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0].A, other[0].A)


def test_a_dimension_without_room_is_refused():
    with pytest.raises(ValueError, match="dimension is 12; allowed is 13 or more"):
        make_clients(RANKS, 12)

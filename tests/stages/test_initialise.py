"""Where factors start: nested over ranks, the same for the same seed, and a base that leaves the model as it was."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.lora.scaling import Scaling
from ilora.stages.initialise import Place, fresh, qr_residual, random
from tests.toy import dense, dense_qr, length

PLACE = Place(seed=1, layer="query", round=1, client=0)
ONE = Scaling(1.0)
SHAPES = st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 20), st.integers(0, 999))
some = settings(max_examples=40, deadline=None, derandomize=True)


def draw(d_out: int, d_in: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=(d_out, d_in)), dtype=dtype)


@given(SHAPES)
@some
def test_qr_factors_are_the_first_columns_and_rows_of_numpys_qr(shape):
    d_out, d_in, rank, seed = shape
    rank = min(rank, d_out, d_in)
    weight = draw(d_out, d_in, seed)
    Q, R = dense_qr(weight.numpy())
    start = qr_residual(weight, rank, ONE, PLACE)
    np.testing.assert_allclose(start.factors.B.numpy(), Q[:, :rank], atol=1e-9)
    np.testing.assert_allclose(start.factors.A.numpy(), R[:rank], atol=1e-9)


@given(SHAPES)
@some
def test_kappa_makes_the_norm_of_the_product_1e_4_sqrt_of_d_k_for_every_rank(shape):
    d_out, d_in, rank, seed = shape
    start = qr_residual(draw(d_out, d_in, seed), min(rank, d_out, d_in), ONE, PLACE, rescale=True)
    assert length(dense(start.factors)) == pytest.approx(1e-4 * np.sqrt(d_out * d_in), rel=1e-9)


def test_the_norm_of_a_768_by_768_layer_is_the_0_0768_of_the_authors_code():
    start = qr_residual(draw(768, 768, 0, torch.float32), 4, ONE, PLACE, rescale=True)
    assert length(dense(start.factors)) == pytest.approx(0.0768, rel=1e-4)


def test_kappa_splits_evenly_between_both_factors():
    weight = draw(9, 7, 0)
    plain, small = (qr_residual(weight, 3, ONE, PLACE, rescale=rescale).factors for rescale in (False, True))
    kappa = np.sqrt(1e-4 * np.sqrt(63) / length(dense(plain)))
    torch.testing.assert_close(small.A, kappa * plain.A)
    torch.testing.assert_close(small.B, kappa * plain.B)


@pytest.mark.parametrize("rescale", [False, True])
@pytest.mark.parametrize("scaling", ["1", "0.25", "16/r", "8/sqrt(r)"])
@pytest.mark.parametrize("rank", [1, 3, 7])
def test_the_scaled_residual_leaves_the_function_as_it_was(rescale, scaling, rank):
    weight, s = draw(9, 7, 0), Scaling.parse(scaling if "/" in scaling else float(scaling))
    start = qr_residual(weight, rank, s, PLACE, rescale, "scaled")
    assert start.offset is not None
    effective = weight.numpy() - dense(start.offset) + s(rank) * dense(start.factors)
    np.testing.assert_allclose(effective, weight.numpy(), atol=1e-12)


@pytest.mark.parametrize("rank", [2, 4, 6])
def test_the_plain_residual_under_alpha_over_r_is_off_by_alpha_over_r_minus_1(rank):
    weight, s = draw(768, 768, 0, torch.float32), Scaling.parse("16/r")
    start = qr_residual(weight, rank, s, PLACE, rescale=True, residual="plain")
    assert start.offset is not None
    off = length(s(rank) * dense(start.factors) - dense(start.offset))
    assert off == pytest.approx({2: 0.54, 4: 0.23, 6: 0.13}[rank], abs=0.005)  # (16 / r - 1) * 1e-4 * sqrt(768 * 768)


@pytest.mark.parametrize("rescale", [False, True])
def test_the_subspaces_are_nested_and_without_kappa_the_factors_too(rescale):
    weight = draw(9, 7, 0)
    small, large = (qr_residual(weight, rank, ONE, PLACE, rescale=rescale).factors for rank in (2, 6))
    ratio = float(small.B[0, 0] / large.B[0, 0])
    torch.testing.assert_close(small.B, ratio * large.B[:, :2])
    torch.testing.assert_close(small.A, ratio * large.A[:2])
    assert rescale or ratio == pytest.approx(1)


def test_random_starts_are_nested_common_to_all_and_move_nothing():
    weight = draw(9, 7, 0, torch.float32)
    large = random(weight, 6, ONE, PLACE)
    for place in (PLACE, PLACE._replace(round=5, client=3)):
        small = random(weight, 2, ONE, place)
        assert torch.equal(small.factors.A, large.factors.A[:2])
        assert not small.factors.B.any()
        assert small.offset is None
    assert large.factors.A.abs().max() <= 1 / np.sqrt(7)
    assert not torch.equal(random(weight, 6, ONE, PLACE._replace(layer="value")).factors.A, large.factors.A)
    assert not torch.equal(random(weight, 6, ONE, PLACE._replace(seed=2)).factors.A, large.factors.A)


def test_fresh_starts_differ_by_round_and_client_and_move_nothing():
    weight = draw(9, 7, 0, torch.float32)
    one = fresh(weight, 3, ONE, PLACE)
    assert not one.factors.B.any()
    assert torch.equal(one.factors.A, fresh(weight, 3, ONE, PLACE).factors.A)
    assert not torch.equal(one.factors.A, fresh(weight, 3, ONE, PLACE._replace(round=2)).factors.A)
    assert not torch.equal(one.factors.A, fresh(weight, 3, ONE, PLACE._replace(client=1)).factors.A)


def test_a_weight_of_zeros_is_started_from_without_a_crash():
    start = qr_residual(torch.zeros(9, 7), 3, ONE, PLACE, rescale=True)
    assert torch.isfinite(start.factors.A).all()
    assert torch.isfinite(start.factors.B).all()

"""The factored forms compute what the dense matrix would: sum, norm, inner product, QR, pivoted QR and SVD of B A."""

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.lora import low_rank
from ilora.lora.factors import Factors
from tests.toy import best, dense, dense_qr, length

SHAPES = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(1, 18), st.integers(0, 10_000))
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
BOTH = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
some = settings(max_examples=60, deadline=None, derandomize=True)


def draw(*shape_seed_and_dtype: Any) -> Factors:
    """Factors whose leading blocks are well conditioned, so that the QR of their product is unique and stable."""
    d_out, d_in, rho, seed, dtype = shape_seed_and_dtype
    random = np.random.default_rng(seed)
    A = np.eye(rho, d_in) + 0.3 * random.normal(size=(rho, d_in)) / np.sqrt(max(rho, d_in))
    B = np.linalg.qr(random.normal(size=(max(d_out, rho), max(d_out, rho))))[0][:d_out, :rho]
    B = B * random.uniform(0.5, 2, rho)
    return Factors(torch.tensor(A, dtype=dtype), torch.tensor(B, dtype=dtype))


def close(got: np.ndarray, want: np.ndarray, dtype: torch.dtype, slack: float = 10.0) -> None:
    np.testing.assert_allclose(got, want, atol=slack * TOLERANCE[dtype], rtol=0)


@BOTH
@given(SHAPES)
@some
def test_the_norm_is_the_dense_norm(dtype, shape):
    X = draw(*shape, dtype)
    assert low_rank.norm(X) == pytest.approx(length(dense(X)), rel=TOLERANCE[dtype])


@BOTH
@given(SHAPES, SHAPES)
@some
def test_sums_differences_and_inner_products_are_the_dense_ones(dtype, shape, other):
    X, Y = draw(*shape, dtype), draw(*shape[:2], *other[2:], dtype)
    x, y = dense(X), dense(Y)
    close(dense(low_rank.add(X, Y)), x + y, dtype)
    close(dense(low_rank.difference(X, Y)), x - y, dtype)
    close(np.array(float(low_rank.inner(X, Y))), np.array((x * y).sum()), dtype, slack=100)


@given(SHAPES)
@some
def test_compact_keeps_the_product_and_has_no_more_slots_than_the_matrix_has_dimensions(shape):
    X = draw(*shape, torch.float64)
    small = low_rank.compact(X)
    assert small.rank <= max(1, min(shape[:2]))
    close(dense(small), dense(X), torch.float64)


@BOTH
@given(SHAPES)
@some
def test_the_compact_qr_is_the_dense_qr(dtype, shape):
    d_out, d_in, rho, _ = shape
    X = draw(*shape, dtype)
    got = low_rank.qr(X, 1)
    Q, R = dense_qr(dense(X))
    unique = min(rho, d_out, d_in) if rho < min(d_out, d_in) else min(d_out, d_in)
    if rho > min(d_out, d_in) or d_out < rho:  # the leading block is no longer well conditioned by construction
        close(got.B.double().numpy() @ got.A.double().numpy(), dense(X), dtype)
        return
    close(got.B.double().numpy()[:, :unique], Q[:, :unique], dtype, slack=30)
    close(got.A.double().numpy()[:unique], R[:unique], dtype, slack=30)


@BOTH
@given(SHAPES, st.integers(1, 14))
@some
def test_qr_has_the_slots_that_were_asked_for_orthonormal_even_where_the_matrix_has_none(dtype, shape, rank):
    d_out, d_in, rho, _ = shape
    rank = min(rank, d_out, d_in)
    for rule in (low_rank.qr, low_rank.pivoted_qr):
        got = rule(draw(*shape, dtype), rank)
        Q, R = got.B.double().numpy(), got.A.double().numpy()
        assert Q.shape[1] == R.shape[0] >= rank
        close(Q.T @ Q, np.eye(Q.shape[1]), dtype)
        close(Q @ R, dense(draw(*shape, dtype)), dtype)
        close(R[rho:], 0 * R[rho:], dtype)


@BOTH
@pytest.mark.parametrize(("d_out", "d_in"), [(9, 7), (7, 9), (8, 8), (3, 1)])
@pytest.mark.parametrize("rho", [1, 3, 12])
def test_a_zero_matrix_gets_orthonormal_columns_and_zero_rows(dtype, d_out, d_in, rho):
    zero = Factors(torch.zeros(rho, d_in, dtype=dtype), torch.zeros(d_out, rho, dtype=dtype))
    rank = min(d_out, d_in)
    for rule in (low_rank.qr, low_rank.pivoted_qr):
        got = rule(zero, rank)
        close(got.B.T.double().numpy() @ got.B.double().numpy(), np.eye(got.rank), dtype)
        assert got.rank >= rank
        assert not got.A.any()
    U, S, V = low_rank.svd(zero, rank)
    close(U.T.double().numpy() @ U.double().numpy(), np.eye(len(S)), dtype)
    close(V.T.double().numpy() @ V.double().numpy(), np.eye(len(S)), dtype)
    assert len(S) >= rank
    assert not S.any()
    assert low_rank.norm(zero) == 0


@given(SHAPES)
@some
def test_the_diagonal_of_R_is_never_negative_pivoted_or_not(shape):
    X = draw(*shape, torch.float64)
    assert (torch.diagonal(low_rank.qr(X, 1).A) >= 0).all()
    pivoted = low_rank.pivoted_qr(X, 1)
    order = scipy.linalg.qr(dense(X), pivoting=True, mode="economic")[2]
    if shape[2] <= min(shape[:2]):
        assert (torch.diagonal(pivoted.A[: shape[2], order.copy()]) >= -1e-12).all()


@BOTH
@given(SHAPES)
@some
def test_the_pivoted_qr_is_scipys(dtype, shape):
    X = draw(*shape, dtype)
    got = low_rank.pivoted_qr(X, 1)
    Q, R, order = scipy.linalg.qr(dense(X), mode="economic", pivoting=True)
    whole = min(shape[0], shape[1], shape[2])
    norms = np.linalg.norm(dense(X), axis=0)
    for rank in range(1, whole + 1):
        diagonal = np.abs(np.diagonal(R))[:rank]
        if len(norms) > 1 and np.min(diagonal) < 1e-2:
            break  # a near tie or a dependent column: the order of pivots is then a matter of rounding
        truncated = Q[:, :rank] @ R[:rank][:, np.argsort(order)]
        mine = got.B.double().numpy()[:, :rank] @ got.A.double().numpy()[:rank]
        error = length(dense(X) - mine)
        assert error == pytest.approx(length(dense(X) - truncated), abs=0.02 if dtype == torch.float32 else 1e-9)


@BOTH
@given(SHAPES, st.integers(0, 14))
@some
def test_the_compact_svd_is_the_dense_svd(dtype, shape, rank):
    rank = min(rank, *shape[:2])
    X = draw(*shape, dtype)
    U, S, V = (t.double().numpy() for t in low_rank.svd(X, rank))
    singular = np.linalg.svd(dense(X), compute_uv=False)
    m = min(len(S), len(singular))
    assert len(S) >= rank
    close(S[:m], singular[:m], dtype)
    close(singular[m:], 0 * singular[m:], dtype)
    close((U * S) @ V.T, dense(X), dtype)
    r = max(1, m // 2)
    error = length(dense(X) - (U[:, :r] * S[:r]) @ V[:, :r].T)
    assert error == pytest.approx(length(dense(X) - best(dense(X), r)), abs=100 * TOLERANCE[dtype])


def test_the_norm_of_a_small_difference_survives_float32():
    X = draw(60, 50, 5, 1, torch.float32)
    noise = 1e-5 * draw(60, 50, 5, 2, torch.float32).B
    Y = Factors(X.A, X.B + noise)
    true = length(dense(Y) - dense(X))
    assert low_rank.norm(low_rank.difference(Y, X)) == pytest.approx(true, rel=0.05)
    assert low_rank.norm(low_rank.difference(X, X)) < 1e-6 * low_rank.norm(X)


def test_truncating_an_unpivoted_qr_keeps_the_first_input_columns_exactly():
    X = draw(9, 11, 6, 0, torch.float64)
    kept = dense(low_rank.qr(X, 6).truncate(3))
    close(kept[:, :3], dense(X)[:, :3], torch.float64)
    basis = np.linalg.qr(dense(X)[:, :3])[0]
    close(kept, basis @ basis.T @ dense(X), torch.float64)

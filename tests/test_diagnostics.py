"""Every diagnostic against the formula of its docstring, computed densely in numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ilora
from ilora import diagnostics
from ilora.lora import low_rank
from ilora.lora.factors import Factors, Stack
from tests.toy import best, dense, dense_qr, draw_clients, draw_weights, length

RANKS = [2, 4, 1, 3]
D_OUT, D_IN = 11, 13
some = settings(max_examples=30, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def setting():
    """Start and trained stacks, scales, and the movements as dense matrices."""
    start, trained = (Stack.of(draw_clients(RANKS, D_OUT, D_IN, seed=seed, dtype=torch.float32), 5) for seed in (1, 2))
    scales = torch.tensor([8.0, 4.0, 16.0, 5.0])
    D = [s * (dense(trained[k]) - dense(start[k])) for k, s in enumerate(scales.tolist())]
    return diagnostics.movements(start, trained, scales), D


def test_movements_are_scaled_differences_of_products(setting):
    moves, D = setting
    assert moves.A.dtype == torch.float64
    for k in range(4):
        np.testing.assert_allclose(dense(moves[k]), D[k], atol=1e-5)
    assert diagnostics.norms(moves).tolist() == pytest.approx([length(d) for d in D], rel=1e-6)


def test_cosines_are_those_of_the_flattened_products(setting):
    moves, D = setting
    flat = np.stack([d.ravel() / length(d) for d in D])
    np.testing.assert_allclose(diagnostics.cosines(moves).numpy(), flat @ flat.T, atol=1e-6)


def test_drift_is_D_of_methods_3c(setting):
    moves, D = setting
    p = draw_weights(4)
    mean = sum(w * d for w, d in zip(p, D, strict=True))
    distances = np.array([length(d - mean) / length(mean) for d in D])
    got, each = diagnostics.drift(moves, torch.tensor(p))
    assert got == pytest.approx((p * distances**2).sum(), rel=1e-6)
    np.testing.assert_allclose(each.numpy(), distances, rtol=1e-6)


def test_movements_that_cancel_up_to_rounding_have_no_drift():
    generator = torch.Generator().manual_seed(0)
    A, B = torch.randn(3, 40, generator=generator), torch.randn(30, 3, generator=generator)
    thirds = [(A, B), (A, B), (A, -2 * B)]
    D, each = diagnostics.drift(thirds, torch.full((3,), 1 / 3))
    assert np.isnan(D)
    assert each.isnan().all()


def test_equal_movements_do_not_drift_and_opposite_ones_have_cosine_minus_1():
    ((A, B),) = draw_clients([3], D_OUT, D_IN)
    D, each = diagnostics.drift(Stack.of([(A, B), (A, B)]), torch.tensor([0.5, 0.5]))
    assert pytest.approx(0, abs=1e-12) == D
    assert each.abs().max() < 1e-6
    assert diagnostics.cosines(Stack.of([(A, B), (A, -B)]))[0, 1] == pytest.approx(-1)


def test_bases_span_the_leading_singular_directions(setting):
    moves, D = setting
    bases = diagnostics.bases(moves, torch.tensor(RANKS))
    assert bases.sizes.tolist() == RANKS
    for k, r in enumerate(RANKS):
        U, _, Vh = np.linalg.svd(D[k])
        for got, want in ((bases.U[k], U[:, :r]), (bases.V[k], Vh[:r].T)):
            X = got.numpy()[:, :r]
            np.testing.assert_allclose(X.T @ X, np.eye(r), atol=1e-10)
            np.testing.assert_allclose(X @ X.T, want @ want.T, atol=1e-5)
            assert not got.numpy()[:, r:].any()


def test_overlap_and_angles_are_hus_phi_and_scipys_subspace_angles(setting):
    moves, _ = setting
    bases = diagnostics.bases(moves, torch.tensor(RANKS))
    phi = diagnostics.overlap(bases.U, bases.U, bases.sizes, bases.sizes).numpy()
    mean = diagnostics.mean_angles(bases.U, bases.U, bases.sizes, bases.sizes).numpy()
    for i, r in enumerate(RANKS):
        for j, q in enumerate(RANKS):
            X, Y = bases.U[i, :, :r].numpy(), bases.U[j, :, :q].numpy()
            angles = np.degrees(scipy.linalg.subspace_angles(X, Y))
            assert phi[i, j] == pytest.approx(length(X.T @ Y) ** 2 / min(r, q), abs=1e-10)
            assert phi[i, j] == pytest.approx((np.cos(np.radians(angles)) ** 2).mean(), abs=1e-6)
            assert mean[i, j] == pytest.approx(angles.mean(), abs=1e-3)
            mine = diagnostics.principal_angles(bases.U[i, :, :r], bases.U[j, :, :q]).numpy()
            np.testing.assert_allclose(np.sort(mine), np.sort(angles), atol=1e-3)
            assert (np.diff(mine) >= 0).all()
    np.testing.assert_allclose(np.diagonal(phi), 1, atol=1e-10)


def test_overlap_is_blind_to_the_basis_and_1_for_a_subspace_within_another():
    Q = torch.tensor(np.linalg.qr(np.random.default_rng(0).normal(size=(9, 5)))[0])
    T = torch.tensor(np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0])
    sizes = torch.tensor([5])
    assert float(diagnostics.overlap((Q @ T)[None], Q[None], sizes, sizes)) == pytest.approx(1)
    assert float(diagnostics.overlap(Q[None, :, :2], Q[None], torch.tensor([2]), sizes)) == pytest.approx(1)


@pytest.mark.parametrize(("i", "j", "d"), [(2, 2, 20), (1, 6, 16), (4, 16, 64)])
def test_the_chance_level_is_the_mean_overlap_of_random_subspaces(i, j, d):
    random, found = np.random.default_rng(0), []
    for _ in range(300):
        X, Y = (np.linalg.qr(random.normal(size=(d, size)))[0] for size in (i, j))
        sizes = torch.tensor([i]), torch.tensor([j])
        found.append(float(diagnostics.overlap(torch.tensor(X)[None], torch.tensor(Y)[None], *sizes)))
    chance = float(diagnostics.chance_overlap(torch.tensor([i]), torch.tensor([j]), d))
    assert chance == pytest.approx(np.mean(found), abs=4 * np.std(found) / np.sqrt(300))


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=12), st.integers(1, 12))
@some
def test_effective_rank_and_energy_share_are_their_formulas(values, r):
    sigma = np.sort(values)[::-1].copy()
    share = sigma / sigma.sum()
    assert diagnostics.effective_rank(torch.tensor(sigma)) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-9)
    assert diagnostics.energy_share(torch.tensor(sigma), r) == pytest.approx((sigma[:r] ** 2).sum() / (sigma**2).sum())


def test_effective_rank_of_r_equal_values_is_r_and_of_nothing_0():
    assert diagnostics.effective_rank(torch.ones(7)) == pytest.approx(7, rel=1e-6)
    assert diagnostics.effective_rank(torch.tensor([3.0, 0, 0])) == pytest.approx(1)
    assert diagnostics.effective_rank(torch.zeros(3)) == 0
    assert np.isnan(diagnostics.energy_share(torch.zeros(3), 2))


def test_coverage_is_the_weight_of_those_who_own_a_slot():
    got = diagnostics.coverage((2, 4, 1), torch.tensor([0.5, 0.3, 0.2]), 5)
    np.testing.assert_allclose(got.numpy(), [1, 0.8, 0.3, 0.3, 0], atol=1e-6)


@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fedit", {}),
        ("flora", {}),
        ("flexlora", {}),
        ("ilora", {}),
        ("ilora", {"mode": "official"}),
        ("ilora", {"mode": "paper"}),
    ],
)
def test_the_aggregation_error_splits_into_averaging_and_truncation(method, options, offsets):
    clients, starts, p = draw_clients(RANKS, D_OUT, D_IN), draw_clients(RANKS, D_OUT, D_IN, seed=9), draw_weights(4)
    given_offsets: dict[str, Any] = {"offsets": starts} if offsets else {}
    got = ilora.aggregate(method, clients, p, **options, **given_offsets)
    official = options.get("mode") == "official"
    s = (lambda r: 16 / r) if official else (lambda r: 1.0)
    cut = [dense(x) if offsets else 0 * dense(x) for x in starts]
    want = sum(w * (s(r) * dense(c) - o) for w, r, c, o in zip(p, RANKS, clients, cut, strict=True))
    raw = sum(w * dense(c) for w, c in zip(p, clients, strict=True))
    top = cut[RANKS.index(4)]
    if method == "fedit":
        giant = starts[RANKS.index(4)]  # with a product cut out of the base, changes are averaged onto the server's factors
        averaged = [(A - A0, B - B0) for (A, B), (A0, B0) in zip(clients, starts, strict=True)] if offsets else clients
        A = sum(w * np.pad(A_k, ((0, 4 - len(A_k)), (0, 0))) for w, (A_k, _) in zip(p, averaged, strict=True))
        B = sum(w * np.pad(B_k, ((0, 0), (0, 4 - B_k.shape[1]))) for w, (_, B_k) in zip(p, averaged, strict=True))
        A, B = (A + giant[0].numpy(), B + giant[1].numpy()) if offsets else (A, B)
        before = after = B @ A - top
    elif method == "flora":
        before = after = want
    elif method == "flexlora":
        before, after = want, best(want, 4)
    elif options:
        Q, R = dense_qr(raw)
        before, after = s(4) * raw - top, s(4) * Q[:, :4] @ R[:4] - top
    else:
        Q, R = dense_qr(want)
        before, after = want, Q[:, :4] @ R[:4]
    merged = Factors(torch.eye(D_IN, dtype=torch.float64), torch.ones(D_OUT, D_IN, dtype=torch.float64))
    for below, base in ((None, 0.0), (merged, np.ones((D_OUT, D_IN)))):
        error = diagnostics.aggregation_error(got, below)
        assert error.averaging == pytest.approx(length(before - want), abs=1e-8)
        assert error.truncation == pytest.approx(length(after - before), abs=1e-8)
        assert error.total == pytest.approx(length(after - want), abs=1e-8)
        assert error.ideal == pytest.approx(length(want + base), rel=1e-9)
        assert error.step == 0.0
    halved = replace(got, server_factors=Factors(got.server_factors.A / 2, got.server_factors.B))
    stepped = diagnostics.aggregation_error(got, None, halved)
    assert stepped.step == pytest.approx(
        low_rank.norm(low_rank.difference(halved.update_factors(), got.update_factors())), abs=1e-8
    )
    assert stepped.step > 0
    assert (stepped.averaging, stepped.truncation) == pytest.approx((error.averaging, error.truncation), abs=1e-8)


@pytest.mark.parametrize("scaling", [1.0, "16/r"])
@pytest.mark.parametrize("method", ["fedit", "flexlora", "ilora", "flora"])
def test_the_broadcast_error_is_what_the_clients_rank_cannot_hold(method, scaling):
    clients, p = draw_clients(RANKS, D_OUT, D_IN), draw_weights(4)
    got = ilora.aggregate(method, clients, p, scaling=scaling)
    s = (lambda r: 16 / r) if scaling == "16/r" else (lambda r: 1.0)
    held = got.update().numpy()
    for r in (1, 2, 4):
        want = 0.0 if method == "flora" else length(s(r) * dense(got.factors(r)) - held) / length(held)
        assert diagnostics.broadcast_error(got, r, None) == pytest.approx(want, abs=1e-9)


def test_the_broadcast_error_counts_what_is_cut_out_of_the_clients_own_base():
    clients, starts, p = draw_clients(RANKS, D_OUT, D_IN), draw_clients(RANKS, D_OUT, D_IN, seed=9), draw_weights(4)
    got = ilora.aggregate("ilora", clients, p, offsets=starts, mode="official")
    held, own = got.update().numpy(), Factors(*starts[0])
    want = length(8 * dense(got.factors(2)) - dense(own) - held) / length(held)
    assert diagnostics.broadcast_error(got, 2, own) == pytest.approx(want, rel=1e-9)


def test_where_nothing_moved_there_is_no_direction_and_no_cosine():
    """Trained factors equal to the received ones: the product of the movement's factors is zero up to rounding only."""
    same = Stack.of(draw_clients(RANKS, D_OUT, D_IN, dtype=torch.float32), 5)
    moves = diagnostics.movements(same, same, torch.tensor([8.0, 4.0, 16.0, 5.0]))
    assert diagnostics.norms(moves).max() < 1e-5
    assert diagnostics.bases(moves, torch.tensor(RANKS)).sizes.tolist() == [0, 0, 0, 0]
    assert diagnostics.cosines(moves).isnan().all()
    D, each = diagnostics.drift(moves, torch.full((4,), 0.25))
    assert np.isnan(D)
    assert each.isnan().all()


def test_exact_zero_movements_are_undefined_too():
    zero = Stack(torch.zeros(2, 3, 5).double(), torch.zeros(2, 4, 3).double(), (3, 3))
    assert diagnostics.bases(zero, torch.tensor([3, 3])).sizes.tolist() == [0, 0]
    assert diagnostics.cosines(zero).isnan().all()
    assert np.isnan(diagnostics.drift(zero, torch.tensor([0.5, 0.5]))[0])


def test_a_tiny_movement_on_large_factors_is_still_measured():
    ((A, B),) = draw_clients([4], D_OUT, D_IN, dtype=torch.float32)
    start, trained = Stack.of([(A, B)]), Stack.of([(A, B + 1e-5 * B.roll(1, 0))])
    moves = diagnostics.movements(start, trained, torch.tensor([1.0]))
    true = length(dense(trained[0]) - dense(start[0]))
    assert float(diagnostics.norms(moves)[0]) == pytest.approx(true, rel=1e-3)
    assert diagnostics.bases(moves, torch.tensor([4])).sizes.tolist() == [4]


def test_two_spaces_and_two_pairs_of_factors_need_no_stack():
    draw = torch.Generator().manual_seed(4)
    X, Y = (torch.linalg.qr(torch.randn(9, r, generator=draw, dtype=torch.float64)).Q for r in (2, 4))
    want = float((X.T @ Y).square().sum()) / 2
    assert float(diagnostics.overlap(X, Y)) == pytest.approx(want)
    assert float(diagnostics.overlap(X[None], Y[None])[0, 0]) == pytest.approx(want)
    assert float(diagnostics.overlap(X, X)) == pytest.approx(1)
    pairs = draw_clients([2, 3], 6, 5)
    mean = 0.5 * dense(pairs[0]) + 0.5 * dense(pairs[1])
    want = sum(0.5 * length(dense(pair) - mean) ** 2 for pair in pairs) / length(mean) ** 2
    assert diagnostics.drift(pairs, torch.tensor([0.5, 0.5]))[0] == pytest.approx(want)

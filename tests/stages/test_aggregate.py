"""The rules against their papers' formulas in dense float64: what each keeps, what it loses, what a client of rank r gets."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ilora
from ilora.lora.aggregation import Aggregate
from tests.toy import best, dense, dense_qr, draw_clients, draw_weights, length

D_OUT, D_IN = 12, 10
RANKS = st.lists(st.integers(1, 8), min_size=1, max_size=5)
CUTTING: dict[str, tuple[str, dict[str, Any]]] = {
    "fedit": ("fedit", {}),
    "svd": ("flexlora", {}),
    "concat-qr": ("ilora", {}),
    "concat-pivoted-qr": ("ilora", {"aggregate": "concat-pivoted-qr"}),
    "raw concat-qr": ("ilora", {"mode": "paper"}),
}
some = settings(max_examples=30, deadline=None, derandomize=True)


def setting(ranks, seed=0, dtype=torch.float64, shape=(D_OUT, D_IN)):
    clients, p = draw_clients(ranks, shape[0], shape[1], seed, dtype), draw_weights(len(ranks), seed)
    return clients, torch.tensor(p, dtype=dtype), p


def ideal(clients, p, scaling=lambda r: 1.0) -> Any:
    return sum(w * scaling(A.shape[0]) * dense((A, B)) for w, (A, B) in zip(p, clients, strict=True))


def held(aggregate: Aggregate) -> Any:
    return aggregate.update().double().numpy()


def padded_mean(clients, p, rank):
    A, B = np.zeros((rank, D_IN)), np.zeros((D_OUT, rank))
    for w, (A_k, B_k) in zip(p, clients, strict=True):
        A[: len(A_k)] += w * A_k.numpy()
        B[:, : len(A_k)] += w * B_k.numpy()
    return A, B


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scaling", [1.0, 2.5, "16/r", "4/sqrt(r)"])
@pytest.mark.parametrize("ranks", [[2, 4, 6], [3], [8, 8, 1, 7]])
def test_stacking_is_the_exact_sum_of_scaled_products(dtype, scaling, ranks):
    clients, weights, p = setting(ranks, dtype=dtype)
    s = {1.0: lambda r: 1.0, 2.5: lambda r: 2.5, "16/r": lambda r: 16 / r, "4/sqrt(r)": lambda r: 4 / np.sqrt(r)}[scaling]
    got = ilora.aggregate("flora", clients, weights, scaling=scaling)
    want = ideal(clients, p, s)
    np.testing.assert_allclose(held(got), want, atol=1e-6 * length(want))
    assert got.error < 1e-6
    assert got.merge


@given(RANKS, st.integers(0, 99))
@some
def test_fedit_misses_the_ideal_by_the_covariance_of_the_factors(ranks, seed):
    clients, weights, p = setting(ranks, seed)
    got = ilora.aggregate("fedit", clients, weights)
    A, B = padded_mean(clients, p, max(ranks))
    covariance = np.zeros((D_OUT, D_IN))
    for w, (A_k, B_k) in zip(p, clients, strict=True):
        padded_A, padded_B = np.zeros_like(A), np.zeros_like(B)
        padded_A[: len(A_k)], padded_B[:, : len(A_k)] = A_k.numpy(), B_k.numpy()
        covariance += w * (padded_B - B) @ (padded_A - A)
    np.testing.assert_allclose(ideal(clients, p) - held(got), covariance, atol=1e-10)
    assert got.error == pytest.approx(length(covariance) / length(ideal(clients, p)), abs=1e-9)


def test_fedit_is_exact_where_all_share_a_factor():
    clients, weights, _ = setting([4, 4, 4])
    shared = [(clients[0][0], B) for _, B in clients]
    assert ilora.aggregate("fedit", shared, weights).error < 1e-12


@given(RANKS, st.integers(0, 99))
@some
def test_no_rule_of_rank_r_comes_closer_than_the_svd(ranks, seed):
    clients, weights, p = setting(ranks, seed)
    for rank in (max(ranks), 8, 10):
        errors = {
            name: ilora.aggregate(method, clients, weights, rank=rank, **options).error
            for name, (method, options) in CUTTING.items()
        }
        want = ideal(clients, p)
        assert errors["svd"] == pytest.approx(length(want - best(want, rank)) / length(want), abs=1e-9)
        assert all(errors["svd"] <= error + 1e-9 for error in errors.values()), errors


@given(RANKS, st.integers(0, 99))
@some
def test_every_share_of_a_product_rule_is_the_truncated_effective_update_under_alpha_over_r(ranks, seed):
    clients, weights, p = setting(ranks, seed)
    want = ideal(clients, p, lambda r: 16 / r)
    Q, R = dense_qr(want)
    for method, cut in (("flexlora", lambda r: best(want, r)), ("ilora", lambda r: Q[:, :r] @ R[:r])):
        got = ilora.aggregate(method, clients, weights, scaling="16/r")
        for r in {*ranks, 1}:
            A, B = got.factors(r)
            assert A.shape == (r, D_IN)
            assert B.shape == (D_OUT, r)
            np.testing.assert_allclose(16 / r * dense((A, B)), cut(r), atol=1e-9 * length(want))
        np.testing.assert_allclose(held(got), cut(max(ranks)), atol=1e-9 * length(want))


@pytest.mark.parametrize("name", CUTTING)
def test_small_clients_get_the_first_slots_of_what_large_ones_get(name):
    method, options = CUTTING[name]
    clients, weights, _ = setting([2, 4, 6])
    got = ilora.aggregate(method, clients, weights, **options)
    (A2, B2), (A6, B6) = got.factors(2), got.factors(6)
    assert torch.equal(B2, B6[:, :2])
    assert torch.equal(A2, A6[:2])


@given(RANKS, st.integers(0, 99), st.booleans())
@some
def test_iloras_bank_is_numpys_qr_of_the_dense_sum(ranks, seed, tall):
    clients, weights, p = setting(ranks, seed, shape=(D_OUT, D_IN) if tall else (D_IN, D_OUT))
    Q, R = dense_qr(ideal(clients, p))
    got = ilora.aggregate("ilora", clients, weights).factors(max(ranks))
    np.testing.assert_allclose(got.B.numpy(), Q[:, : max(ranks)], atol=1e-7)
    np.testing.assert_allclose(got.A.numpy(), R[: max(ranks)], atol=1e-7)


@given(RANKS, st.integers(0, 99))
@some
def test_iloras_error_is_what_stands_below_the_cut_of_R(ranks, seed):
    clients, weights, p = setting(ranks, seed)
    want, r = ideal(clients, p), max(ranks)
    R22 = dense_qr(want)[1][r:, r:]
    assert ilora.aggregate("ilora", clients, weights).error == pytest.approx(length(R22) / length(want), abs=1e-10)


def test_a_flat_spectrum_loses_sqrt_of_1_minus_r_over_rho_under_qr():
    errors = []
    for seed in range(20):
        clients = draw_clients([4] * 5, 300, 300, seed=seed)
        errors.append(ilora.aggregate("ilora", clients, [0.2] * 5).error)
    assert np.mean(errors) == pytest.approx(np.sqrt(1 - 4 / 20), abs=0.02)


def test_product_rules_never_notice_a_rotation_between_the_factors_and_fedit_does():
    clients, weights, _ = setting([3, 3])
    random = np.random.default_rng(0)
    turned = []
    for A, B in clients:
        T = torch.tensor(np.linalg.qr(random.normal(size=(3, 3)))[0])
        turned.append((T.T @ A, B @ T))
    for method in ("ilora", "flexlora", "flora"):
        before, after = (ilora.aggregate(method, c, weights).update() for c in (clients, turned))
        torch.testing.assert_close(before, after, atol=1e-10, rtol=0)
    before, after = (ilora.aggregate("fedit", c, weights).update() for c in (clients, turned))
    assert torch.linalg.matrix_norm(before - after) > 0.1


@given(st.permutations(range(4)), st.sampled_from(list(CUTTING)))
@some
def test_the_order_of_clients_does_not_matter(order, name):
    method, options = CUTTING[name]
    clients, weights, _ = setting([2, 4, 6, 1])
    before = ilora.aggregate(method, clients, weights, **options).update()
    after = ilora.aggregate(method, [clients[k] for k in order], weights[list(order)], **options).update()
    torch.testing.assert_close(before, after, atol=1e-9, rtol=0)


def residual_start(ranks, seed=5, kappa=False):
    theta = np.random.default_rng(seed).normal(size=(D_OUT, D_IN))
    Q, R = dense_qr(theta)
    starts = []
    for r in ranks:
        k = np.sqrt(1e-4 * np.sqrt(theta.size) / length(Q[:, :r] @ R[:r])) if kappa else 1.0
        starts.append((torch.tensor(k * R[:r]), torch.tensor(k * Q[:, :r])))
    return starts


@pytest.mark.parametrize("ranks", [[2, 4, 6], [5], [1, 8, 8]])
@pytest.mark.parametrize(("mode", "kappa"), [("official", True), ("paper", False)])
def test_official_and_paper_modes_are_methods_1_1_literally(mode, kappa, ranks):
    clients, weights, p = setting(ranks)
    starts = residual_start(ranks, kappa=kappa)
    s = (lambda r: 16 / r) if mode == "official" else (lambda r: 1.0)
    Q, R = dense_qr(ideal(clients, p))  # the raw sum: scaling ignored, the initial product still in it
    top, largest = max(ranks), ranks.index(max(ranks))
    update = s(top) * Q[:, :top] @ R[:top] - dense(starts[largest])  # on the base theta_0 - B0 A0 of the largest rank
    want = sum(
        w * (s(r) * dense(c) - dense(start)) for w, r, c, start in zip(p, ranks, clients, starts, strict=True)
    )  # fmt: skip
    got = ilora.aggregate("ilora", clients, weights, offsets=starts, mode=mode)
    np.testing.assert_allclose(held(got), update, atol=1e-8)
    assert got.error == pytest.approx(length(update - want) / length(want), rel=1e-8)
    for r in ranks:
        np.testing.assert_allclose(got.factors(r).B.numpy(), Q[:, :r], atol=1e-8)
        np.testing.assert_allclose(got.factors(r).A.numpy(), R[:r], atol=1e-8)


@pytest.mark.parametrize("scaling", [1.0, 0.5, "16/r"])
def test_corrected_mode_aggregates_what_was_learned_and_nothing_else(scaling):
    ranks = [2, 4, 6]
    s = (lambda r: 16 / r) if scaling == "16/r" else (lambda r: scaling)
    clients, weights, p = setting(ranks)
    starts = residual_start(ranks)
    learned = sum(
        w * s(r) * (dense(c) - dense(start)) for w, r, c, start in zip(p, ranks, clients, starts, strict=True)
    )  # fmt: skip
    got = ilora.aggregate("ilora", clients, weights, offsets=starts, scaling=scaling)
    Q, R = dense_qr(learned)
    np.testing.assert_allclose(held(got), Q[:, :6] @ R[:6], atol=1e-8)
    np.testing.assert_allclose(got.ideal.product().numpy(), learned, atol=1e-9)
    np.testing.assert_allclose(s(2) * dense(got.factors(2)), Q[:, :2] @ R[:2], atol=1e-8)
    still = ilora.aggregate("ilora", starts, weights, offsets=starts, scaling=scaling)
    assert length(held(still)) < 1e-12


@pytest.mark.parametrize("scaling", [1.0, 0.5, "16/r"])
def test_stacking_with_offsets_is_exact_too(scaling):
    ranks = [2, 4, 6]
    s = (lambda r: 16 / r) if scaling == "16/r" else (lambda r: scaling)
    clients, weights, p = setting(ranks)
    starts = residual_start(ranks)
    got = ilora.aggregate("ilora", clients, weights, offsets=starts, scaling=scaling, aggregate="stack")
    learned = sum(w * s(r) * (dense(c) - dense(o)) for w, r, c, o in zip(p, ranks, clients, starts, strict=True))
    np.testing.assert_allclose(held(got), learned, atol=1e-8)
    assert got.error < 1e-9

"""The methods of federated LoRA: exact rules have no error, inexact ones what their identity predicts, and every method runs."""

from itertools import pairwise, product
from math import ceil
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ilora
from ilora.api import run, simulate
from ilora.experiment import Experiment
from ilora.lora.aggregation import Upload, weighted_update
from ilora.lora.factors import Factors, Stack
from ilora.lora.scaling import Scaling
from ilora.methods import METHODS, resolve
from ilora.methods.compatibility import CLASHES, among, nearest
from ilora.methods.ingredients import INGREDIENTS
from ilora.methods.recipes import federated_lora, heterogeneous
from ilora.simulation.round_loop import Simulation
from ilora.stages.aggregate import full_rank_deltas, mean, mean_of_changes
from ilora.stages.context import slots_of
from ilora.stages.objectives import shorter, tail_size
from ilora.stages.server import AdamW
from ilora.stages.sharing import top
from ilora.stages.uploads import quantised, rotate, rotation
from tests.laws import (
    assert_nothing_moves,
    assert_same_bits,
    at_home,
    bits,
    compare,
    next_view,
    remembered,
    share_and_train,
)
from tests.toy import LAYERS, best, dense, draw_clients, draw_weights, length, server_logits, small_tasks, toy_experiment, updates

D_OUT, D_IN = 12, 10
MIXED = [[2, 4, 6], [3], [1, 3, 8, 8], [5, 5, 2]]
OPTIONS: dict[str, dict[str, Any]] = {"hetlora": {"least_rank": 1, "tail_weight": 1.0}, "aflora": {"threshold": 0.5}}

HERE = [*federated_lora.METHODS, *heterogeneous.METHODS]  # tests/methods/test_drift.py holds the others to the same


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


def ideal(clients: Any, p: Any) -> Any:
    return sum(w * dense(pair) for w, pair in zip(p, clients, strict=True))


def held(aggregate: Any) -> Any:
    return aggregate.update().double().numpy()


def drawn(ranks: list[int], seed: int = 0) -> tuple[Any, Any]:
    return draw_clients(ranks, D_OUT, D_IN, seed), draw_weights(len(ranks), seed)


def experiment_of(method: str, **changes: Any) -> Experiment:
    options = OPTIONS.get(method, {}) | changes.pop("options", {})
    return toy_experiment(**{"skew": METHODS[method].needed_skew or "label"} | changes, method=method, options=options)


def test_a_slot_that_nobody_of_a_round_has_is_dead_in_fedit_from_then_on():
    """What sentences_compared.dead_slots says on the screen."""
    simulation = Simulation(toy_experiment(method="fedit", ranks=[1, 8, 3, 1], participation=0.5, seed=3, rounds=9, lr=1e-2))
    dead = 0
    for _ in range(9):
        record = simulation.next_round()
        dead = max(dead, 8 - int(record.clients["rank"].max()))
        for layer in LAYERS:
            A, B = (record.factors[f"{layer}/server/{x}"] for x in "AB")
            assert not A[8 - dead :].any()
            assert not B[:, 8 - dead :].any()
    assert dead > 0


# The rules, one layer at a time ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", [0.01, 0.5])
@pytest.mark.parametrize("ranks", MIXED, ids=str)
def test_lora_fair_in_closed_form_is_the_least_squares_answer(ranks, penalty):
    """min ||dW - (B + dB) A||^2 + penalty ||dB||^2, as one numpy lstsq on [A^T; sqrt(penalty) I]."""
    clients, p = drawn(ranks)
    A, B = (factor.numpy() for factor in ilora.aggregate("fedit", clients, p).server_factors)
    rows = np.vstack([A.T, np.sqrt(penalty) * np.eye(len(A))])
    gap = np.vstack([(ideal(clients, p) - B @ A).T, np.zeros((len(A), D_OUT))])
    want = B + np.linalg.lstsq(rows, gap, rcond=None)[0].T
    np.testing.assert_allclose(
        ilora.aggregate("lora-fair", clients, p, penalty=penalty).server_factors.B.numpy(), want, atol=1e-9
    )


def test_lora_fair_without_a_penalty_is_the_best_update_in_the_row_space_of_the_mean_A():
    clients, p = drawn([4, 4, 4])
    A = ilora.aggregate("fedit", clients, p).server_factors.A.numpy()
    rows = np.linalg.pinv(A) @ A
    np.testing.assert_allclose(held(ilora.aggregate("lora-fair", clients, p, penalty=0.0)), ideal(clients, p) @ rows, atol=1e-9)


def test_lora_fair_corrects_towards_the_scaled_sum_where_scaling_depends_on_the_rank():
    clients, p = drawn([2, 4, 6])
    want = sum(w * 16 / len(A) * dense((A, B)) for w, (A, B) in zip(p, clients, strict=True))
    result = ilora.aggregate("lora-fair", clients, p, scaling="16/r", penalty=0.0)
    rows = np.linalg.pinv(result.server_factors.A.numpy()) @ result.server_factors.A.numpy()
    np.testing.assert_allclose(held(result), want @ rows, atol=1e-9)


@pytest.mark.parametrize("ranks", MIXED, ids=str)
def test_lora_fair_never_errs_more_than_fedit_and_its_descent_raises_the_cosine(ranks):
    clients, p = drawn(ranks)
    fedit = ilora.aggregate("fedit", clients, p)
    assert ilora.aggregate("lora-fair", clients, p).error <= fedit.error + 1e-9

    def cosine(X: Any) -> float:
        return float((X * ideal(clients, p)).sum() / (length(X) * length(ideal(clients, p))))

    assert cosine(held(ilora.aggregate("lora-fair", clients, p, form="iterative"))) >= cosine(held(fedit)) - 1e-9


@pytest.mark.parametrize("clients", [1, 3, 5])
def test_raflora_is_the_mean_of_products_where_all_ranks_are_equal(clients):
    pairs, p = drawn([4] * clients)
    np.testing.assert_allclose(held(ilora.aggregate("raflora", pairs, p)), best(ideal(pairs, p), 4), atol=1e-9)


def test_raflora_can_put_the_root_of_the_singular_values_on_each_factor():
    factors = ilora.aggregate("raflora", *drawn([2, 4, 6]), rank=6, split="both").server_factors
    A, B = factors.A.numpy(), factors.B.numpy()
    np.testing.assert_allclose(A @ A.T, B.T @ B, atol=1e-9)
    np.testing.assert_allclose(np.diag(A @ A.T), np.linalg.svd(B @ A, compute_uv=False)[: len(A)], atol=1e-9)


def test_raflora_averages_every_band_of_slots_over_its_owners():
    clients, p = drawn([2, 4, 6])
    bands = []
    for low, high in ((0, 2), (2, 4), (4, 6)):
        owners = [k for k, (A, _) in enumerate(clients) if len(A) >= high]
        total = sum(p[k] for k in owners)
        bands += [p[k] / total * dense((clients[k][0][low:high], clients[k][1][:, low:high])) for k in owners]
    np.testing.assert_allclose(held(ilora.aggregate("raflora", clients, p)), best(sum(bands), 6), atol=1e-9)


def test_replication_is_filling_the_missing_slots_with_their_owners_average():
    """Literally: a small client's slots 3..5 become the large ones' mean, then A and B are averaged by samples."""
    clients, p = drawn([2, 5, 2, 5])
    large = [1, 3]
    share = p[large] / p[large].sum()
    full_A, full_B = (sum(w * clients[k][x].numpy() for w, k in zip(share, large, strict=True)) for x in (0, 1))
    A, B = np.zeros((5, D_IN)), np.zeros((D_OUT, 5))
    for w, (A_k, B_k) in zip(p, clients, strict=True):
        A += w * np.vstack([A_k.numpy(), full_A[len(A_k) :]])
        B += w * np.hstack([B_k.numpy(), full_B[:, len(A_k) :]])
    factors = ilora.aggregate("replication", clients, p).server_factors
    np.testing.assert_allclose(factors.A.numpy(), A, atol=1e-12)
    np.testing.assert_allclose(factors.B.numpy(), B, atol=1e-12)


@pytest.mark.parametrize("ranks", MIXED, ids=str)
def test_hlora_and_flexlora_are_one_product_for_every_rank(ranks):
    clients, p = drawn(ranks)
    one, other = (ilora.aggregate(name, clients, p) for name in ("hlora", "flexlora"))
    for rank in range(1, max(ranks) + 1):
        np.testing.assert_allclose(dense(one.factors(rank)), dense(other.factors(rank)), atol=1e-9)
        np.testing.assert_allclose(dense(one.factors(rank)), best(ideal(clients, p), rank), atol=1e-9)
    B = one.server_factors.B.numpy()
    np.testing.assert_allclose(B.T @ B, np.eye(B.shape[1]), atol=1e-9)


@pytest.mark.parametrize("energy", [0.3, 0.9, 0.99, 1.0])
def test_florist_keeps_the_energy_that_it_says_and_not_a_direction_more(energy):
    clients, p = drawn([2, 4, 6])
    result, want = ilora.aggregate("florist", clients, p, energy=energy), ideal(clients, p)
    kept, whole = result.server_factors.rank, length(want) ** 2
    assert length(held(result)) ** 2 >= (energy - 1e-9) * whole
    assert length(best(want, kept - 1)) ** 2 < energy * whole
    assert result.error == pytest.approx(np.sqrt(1 - length(best(want, kept)) ** 2 / whole), abs=1e-6)


@pytest.mark.parametrize("ranks", MIXED, ids=str)
def test_fedex_is_exact_and_its_residual_is_what_fedit_misses(ranks):
    clients, p = drawn(ranks)
    result, fedit = ilora.aggregate("fedex-lora", clients, p), ilora.aggregate("fedit", clients, p)
    assert result.error < 1e-6
    assert result.residual is not None
    np.testing.assert_allclose(result.residual.product().numpy(), ideal(clients, p) - held(fedit), atol=1e-9)


def upload_of(start: Stack, sent: Stack, p: Any, **more: Any) -> Upload:
    weights, scaling = torch.tensor(p), Scaling(1.0)
    more = {"levels": tuple(sorted(set(sent.ranks))), **more}
    return Upload(start, sent, weights, scaling, max(sent.ranks), weighted_update(sent, weights, scaling, None), **more)


def test_what_truncation_hid_from_the_clients_stays_at_fedhls_server():
    """G <- G + sum p_k (B_k A_k - B_k0 A_k0), though no client of rank 2 ever held more than two directions of G."""
    (before,) = draw_clients([7], D_OUT, D_IN, seed=1)
    U, S, Vh = np.linalg.svd(dense(before), full_matrices=False)
    cut = [(torch.tensor(Vh[:r]), torch.tensor(U[:, :r] * S[:r])) for r in (1, 2)]
    moved = [(A + 0.1 * torch.randn_like(A), B + 0.1 * torch.randn_like(B)) for A, B in cut]
    p = [0.25, 0.75]
    result = full_rank_deltas(upload_of(Stack.of(cut), Stack.of(moved), p, server_update=Factors(*before)))
    np.testing.assert_allclose(held(result), dense(before) + ideal(moved, p) - ideal(cut, p), atol=1e-9)
    assert result.rank > 2


def test_a_mean_of_changes_leaves_alone_what_nobody_sent_and_nothing_moves_where_nobody_did():
    start = Stack.of(draw_clients([4], D_OUT, D_IN) * 3)
    sent = Stack.of([(A + 1, B + 2) for A, B in draw_clients([4], D_OUT, D_IN) * 3])
    slots, p, own = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]).bool(), draw_weights(3), start[0]
    result = mean_of_changes(upload_of(start, sent, p, server=own, send_A=slots, send_B=slots)).server_factors
    step = torch.tensor([1.0, p[0], p[1], 0.0], dtype=torch.float64)
    torch.testing.assert_close(result.A, own.A + step[:, None])
    torch.testing.assert_close(result.B, own.B + 2 * step)
    still = mean_of_changes(upload_of(start, start, p, server=own)).server_factors
    assert torch.equal(still.A, own.A)
    assert torch.equal(still.B, own.B)


def test_a_slot_that_a_client_has_and_does_not_send_counts_as_it_was_received_in_a_mean():
    start = Stack.of(draw_clients([2], D_OUT, D_IN) * 2)
    changed = start.A.clone()
    changed[0, 0] += 1
    slots = torch.tensor([[True, False], [False, False]])
    result = mean(upload_of(start, Stack(changed, start.B, start.ranks), [0.5, 0.5], server=start[0], send_A=slots, send_B=slots))
    torch.testing.assert_close(result.server_factors.A, start.A[0] + torch.tensor([[0.5], [0.0]]))


# Ingredients, each for itself ---------------------------------------------------------------------------------------------------


def view_of(twins: Any, reference: Any, index: int) -> Any:
    sent, start = Stack.of(twins), Stack.of([reference] * len(twins))
    return SimpleNamespace(
        index=index,
        layers=("l",),
        ranks=sent.ranks,
        result={"l.A": sent.A, "l.B": sent.B},
        start={"l.A": start.A, "l.B": start.B},
    )


@pytest.mark.parametrize("index", [2, 3])
def test_rotation_keeps_every_clients_product_and_brings_rotated_twins_together(index):
    """The same update in two gauges: FedIT destroys it, FedRot turns both back to what they received; half a turn helps too."""
    ((A, B),) = draw_clients([4], D_OUT, D_IN)
    Q = rotation(torch.randn(4, 4, generator=torch.Generator().manual_seed(1)).double(), 0.8)
    twins = [(A, B), (Q.T @ A, B @ Q)]
    errors = [ilora.aggregate("fedit", twins, [0.5, 0.5]).error]
    for soft in (0.5, 1.0):
        sent = rotate(view_of(twins, (A, B), index), soft=soft)
        pairs = list(zip(sent["l.A"], sent["l.B"], strict=True))
        for before, after in zip(twins, pairs, strict=True):
            np.testing.assert_allclose(dense(after), dense(before), atol=1e-9)
        errors.append(ilora.aggregate("fedit", pairs, [0.5, 0.5]).error)
    assert errors[2] < 1e-6 < errors[1] < 0.6 * errors[0]


@pytest.mark.parametrize("soft", [0.5, 1.0])
def test_a_rotation_mirrors_nothing_even_where_a_mirror_would_fit_better(soft):
    mirror = torch.diag(torch.tensor([3.0, 2.0, -1.0]).double())
    torch.testing.assert_close(rotation(mirror, soft), torch.eye(3).double())


@pytest.mark.parametrize("soft", [0.0, 0.3, 0.7, 1.0])
def test_a_rotation_is_orthogonal_and_no_turn_at_all_where_soft_is_0(soft):
    R = rotation(torch.randn(5, 5, generator=torch.Generator().manual_seed(2)).double(), soft)
    np.testing.assert_allclose(R.T @ R, np.eye(5), atol=1e-12)
    if soft == 0:
        np.testing.assert_allclose(R, np.eye(5), atol=1e-12)
    if soft < 1:
        assert torch.det(R) > 0


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.sampled_from([2, 4, 8]), st.floats(-8, 8))
def test_a_quantised_upload_round_trips_within_half_a_step_in_so_many_levels(seed, wide, size):
    x = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(seed)) * 10**size
    y = quantised(x, wide)
    step = x.abs().amax(-1, keepdim=True) / (2 ** (wide - 1) - 1)
    assert ((x - y).abs() <= step * 0.5001).all()
    levels = (y / step).double()
    np.testing.assert_allclose(levels, levels.round(), atol=1e-4)
    assert levels.abs().max() <= 2 ** (wide - 1) - 1 + 1e-4
    assert not quantised(torch.zeros(2, 3), wide).any()


def test_haflqs_bytes_are_its_bits_its_steps_its_choice_and_the_head_in_full():
    for wide in (8, 4, 2):
        record = next(simulate(experiment_of("haflq", ranks=[1, 3, 8], options={"bits": wide})))
        slots, head = 1 + 3 + 8, 3 * (14 * 4 + 4)
        numbers = slots * sum(sum(shape) for shape in LAYERS.values())
        chosen = 3 * len(LAYERS) * 1  # one byte names the slots of 8
        assert record.floats_up == numbers + head
        assert record.bytes_up == ceil(numbers * wide / 8) + 4 * (2 * len(LAYERS) * slots + head) + chosen
        assert record.bytes_down == 4 * record.floats_down == 4 * (numbers * 24 // slots + head)


def test_the_fewer_bits_the_further_from_what_was_trained():
    runs = {wide: Simulation(experiment_of("haflq", ranks=[2, 4], options={"bits": wide})) for wide in (8, 4, 2)}
    plain = Simulation(experiment_of("haflq", ranks=[2, 4], options={"upload": "as-is"}))
    plain.next_round()
    want, distance = updates(plain), {}
    for wide, simulation in runs.items():
        simulation.next_round()
        distance[wide] = sum(length(G - want[name]) for name, G in updates(simulation).items())
    assert 0 < distance[8] < distance[4] < distance[2]


def test_the_top_slots_are_the_largest_and_the_first_of_equals():
    got = top(torch.tensor([[0.0, 3.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 2.0, 2.0]]), torch.tensor([2, 3, 2]))
    assert got.tolist() == [[False, True, False, True], [True, True, True, False], [False, True, True, False]]


def test_what_a_client_does_not_choose_it_leaves_as_it_was():
    for method in ("haflq", "lora-a2", "fslora"):
        simulation = Simulation(experiment_of(method, ranks=[1, 3, 8]))
        simulation.next_round()
        for _ in range(2):
            side, view = next_view(simulation)
            share_and_train(side, view)
            masks = view.spread(view.start, view.shared.train_A, view.shared.train_B, D=view.owned & False)
            for name, mask in masks.items():
                assert torch.equal(view.result[name] * (1 - mask), view.start[name] * (1 - mask)), (method, name)
            kept = sum(sum(int(slots.sum()) for slots in dict(s).values()) for s in view.shared[:2] if isinstance(s, dict))
            assert kept == len(LAYERS) * 12 * (1 if method == "lora-a2" else 2)
            simulation.next_round()


def test_lora_a2_spends_a_clients_budget_where_it_moves_most_over_all_layers():
    simulation = Simulation(experiment_of("lora-a2", ranks=[2, 5]))
    side, view = next_view(simulation)
    g, shared = view.gradient(), side.stages.sharing(view)
    for k, budget in enumerate((2, 5)):
        score = np.concatenate([
            (g[f"{layer}.B"][k].norm(dim=0) * view.start[f"{layer}.A"][k].norm(dim=1)).numpy() for layer in LAYERS
        ])  # fmt: skip
        chosen = np.concatenate([slots_of(shared.train_B, layer)[k].numpy() for layer in LAYERS])
        assert chosen.sum() == 2 * budget
        assert score[chosen].min() >= score[~chosen].max(initial=0)


def test_fsloras_sketch_is_the_whole_in_expectation():
    """E[S_k] = I: every slot of a client of rank r is drawn in r of R rounds, and counts R / r then."""
    simulation = Simulation(experiment_of("fslora", ranks=[1, 3, 8]))
    rounds, total = 600, {layer: torch.zeros(3, 8) for layer in LAYERS}
    for index in range(1, rounds + 1):
        side, view = next_view(simulation, index)
        side.stages.sharing(view)
        for layer in LAYERS:
            D = view.start[f"{layer}.D"]
            assert (D > 0).sum(1).tolist() == [1, 3, 8]
            torch.testing.assert_close(D.sum(1), torch.full((3,), 8.0))
            total[layer] += D / rounds
    for layer in LAYERS:
        spread = torch.tensor([[8.0], [8 / 3], [1.0]]).sub(1).clamp_min(0).div(rounds).sqrt()  # of a mean of R/r * Bernoulli(r/R)
        assert ((total[layer] - 1).abs() <= 4 * spread + 1e-5).all()


def test_the_servers_adamw_is_torchs_on_the_negative_change():
    parameter = torch.nn.Parameter(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    ours, rule = parameter.detach().clone(), AdamW(SimpleNamespace(), server_lr=0.05, epsilon=1e-6)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW([parameter], lr=0.05, eps=1e-6, weight_decay=0.0)
    for t in range(1, 6):
        delta = torch.randn(4, 6, generator=torch.Generator().manual_seed(t))
        parameter.grad = -((ours + delta) - ours)
        optimizer.step()
        ours = rule._step(t, "x", ours, ours + delta)
        torch.testing.assert_close(ours, parameter.detach())


def test_the_tail_is_what_its_formula_says_and_its_gradient_is_finite_where_B_is_zero():
    clients = draw_clients([2, 5, 7], D_OUT, D_IN)
    stacked = Stack.of(clients)
    got = tail_size({"l.A": stacked.A, "l.B": stacked.B}, stacked.ranks, 0.6, 2)
    want = [np.linalg.norm(B[:, t:]) * np.linalg.norm(A[t:]) for (A, B), t in zip(clients, (2, 3, 4), strict=True)]
    np.testing.assert_allclose(got, want, atol=1e-9)
    A, B = stacked.A.clone().requires_grad_(), torch.zeros_like(stacked.B).requires_grad_()
    tail_size({"l.A": A, "l.B": B}, stacked.ranks, 0.6, 2).sum().backward()
    assert A.grad is not None
    assert B.grad is not None
    assert A.grad.isfinite().all()
    assert B.grad.isfinite().all()
    assert [shorter(r, 0.99, 4) for r in (1, 4, 5, 16)] == [1, 4, 4, 15]


@pytest.mark.parametrize(
    ("method", "options", "least"),
    [
        ("hetlora", {"tail_weight": 10.0, "least_rank": 2, "gamma": 0.8}, 2),
        ("aflora", {"threshold": 0.9}, 1),
    ],
)
def test_pruned_ranks_only_shrink_and_never_below_their_least(method, options, least):
    simulation = Simulation(experiment_of(method, options=options, ranks=[1, 3, 8, 8], participation=0.75, rounds=8, lr=5e-2))
    seen = [simulation.server.ranks]
    for _ in range(8):
        record = simulation.next_round()
        assert record.clients["rank"].tolist() == [seen[-1][k] for k in record.clients["id"]]
        seen.append(simulation.server.ranks)
        for before, after in zip(seen[-2], seen[-1], strict=True):
            assert min(before, least) <= after <= before
    assert sum(seen[-1]) < sum(seen[0])


def test_hetloras_weights_are_the_sizes_of_the_updates():
    record = next(simulate(experiment_of("hetlora", ranks=[2, 4, 6])))
    size = np.zeros(3)
    for layer in LAYERS:
        A, B = record.factors[f"{layer}/trained/A"], record.factors[f"{layer}/trained/B"]
        size += np.array([np.linalg.norm(B[k].astype(float) @ A[k].astype(float)) ** 2 for k in range(3)])
    np.testing.assert_allclose(record.clients["weight"], np.sqrt(size) / np.sqrt(size).sum(), rtol=1e-5)


def test_afloras_server_holds_the_sum_of_products_of_its_own_weights_and_the_scales_that_clients_learned():
    simulation = Simulation(experiment_of("aflora", ranks=[2, 4, 6], options={"threshold": 0.0}, lr=5e-2))
    for _ in range(3):
        record = simulation.next_round()
        G = updates(simulation)
        for layer in LAYERS:
            A, B = (record.factors[f"{layer}/trained/{x}"] for x in "AB")
            want = sum(p * B[k].astype(float) @ A[k].astype(float) for k, p in enumerate(record.clients["weight"]))
            np.testing.assert_allclose(G[layer], want, atol=1e-6)
    assert all((D - 1).abs().max() > 1e-3 for D in remembered(simulation, "sharing").values())


# Whole methods ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["flora", "ffa-lora", "fedex-lora", "rolora", "lora-a2"])
def test_exact_rules_have_no_error_in_any_round_of_mixed_ranks_and_partial_participation(method):
    for record in simulate(experiment_of(method, ranks=[1, 3, 8, 3], participation=0.75, rounds=4)):
        assert record.aggregation_error < 1e-5


@pytest.mark.parametrize("method", ["aflora", "fedhl", "raflora", "hlora", "flexlora"])
def test_these_are_exact_where_everyone_is_there_with_one_rank_that_holds_the_sum(method):
    """Rank 10 is all that the layers have, so a product rule cuts nothing; AFLoRA's A is common."""
    options = {"threshold": 0.0} if method == "aflora" else {}
    for record in simulate(experiment_of(method, ranks=[10, 10], options=options, rounds=3)):
        assert record.aggregation_error < 1e-5


def settle(method: str) -> tuple[Experiment, Any]:
    experiment = experiment_of(method, ranks=[1, 3, 8], rounds=3)
    return experiment.replace(lr=0.0), list(simulate(experiment.replace(rounds=2)))[-1].snapshot


@pytest.mark.parametrize("method", ["fedhl", "lora-a2", "haflq", "replication", "raflora", "flora", "florist"])
def test_a_trained_server_stays_where_it_is_once_nobody_learns_any_more(method):
    """Zero padding and truncation shrink what small clients return; these rules do not, each for a reason of its own."""
    simulation = Simulation(*settle(method))
    before = updates(simulation)
    simulation.next_round()
    for name, G in updates(simulation).items():
        np.testing.assert_allclose(G, before[name], atol=1e-5 * length(before[name]))


@pytest.mark.parametrize("ranks", [[1, 3, 8], [4]], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_zero_learning_leaves_the_servers_function_unchanged(method, ranks):
    assert_nothing_moves(experiment_of(method, ranks=ranks, local_steps=1, lr=0.0))


@pytest.mark.parametrize("scaling", [1.0, "16/r"])
@pytest.mark.parametrize("rule", INGREDIENTS["aggregate"])
def test_no_rule_moves_the_model_by_itself_where_factors_start_as_a_cut_out_part_of_the_weight(rule, scaling):
    options = {"initialise": "qr", "aggregate": rule}
    assert_nothing_moves(toy_experiment(method="fedit", options=options, ranks=[1, 3, 8], scaling=scaling, lr=0.0, local_steps=1))


@pytest.mark.parametrize(
    "how", [{"ranks": [1, 3, 8]}, {"ranks": [4]}, {"ranks": [1, 8, 3, 1], "participation": 0.5, "seed": 3}], ids=str
)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_ends_finite_and_resumes_to_the_same_bits_from_each_snapshot(method, how):
    """Mixed ranks, a single client, and rounds in which a level of ranks is absent."""
    experiment = experiment_of(method, rounds=3, local_steps=2, **how)
    rounds = list(simulate(experiment))
    for record in rounds:
        assert np.isfinite([record.accuracy, record.loss, record.train_loss]).all()
        assert all(np.isfinite(array).all() for array in record.snapshot.values())
    for record, then in pairwise(rounds):
        again = next(simulate(experiment, {name: np.array(array) for name, array in record.snapshot.items()}))
        assert_same_bits(bits(then), bits(again))
        assert_same_bits(then.snapshot, again.snapshot)


def test_the_rounds_above_do_miss_a_level_of_ranks():
    experiment = toy_experiment(ranks=[1, 8, 3, 1], participation=0.5, seed=3)
    assert any(set(record.clients["rank"].tolist()) < {1, 3, 8} for record in simulate(experiment))


@pytest.mark.parametrize("method", HERE)
def test_all_clients_at_once_and_one_after_another_on_peft_agree(method):
    """SGD, because AdamW makes a whole step of a gradient that is mere rounding; so would the server's AdamW without its
    epsilon. A small learning rate where uploads are rounded, so that a number on the edge between two steps weighs little."""
    options = {"fslora": {"epsilon": 1e-2}, "ilora": {"correction": "none"}}.get(method, {})
    lr = 5e-3 if method == "haflq" else 5e-2
    compare(experiment_of(method, options=options, optimizer="sgd", lr=lr, ranks=[1, 3, 8, 3], participation=0.75, alpha=0.5))


@pytest.mark.parametrize("method", ["aflora", "fslora"])
def test_they_agree_on_the_vision_transformer_where_slots_have_scales(method):
    options = {"epsilon": 1e-2} if method == "fslora" else {}
    compare(toy_experiment(task="digits", method=method, options=options, optimizer="sgd", ranks=[2, 4], local_steps=1))


@pytest.mark.parametrize("method", HERE)
def test_learning_lowers_the_loss(method):
    first, *_, last = simulate(experiment_of(method, skew="iid", ranks=[2, 4], rounds=5, lr=2e-2))
    assert last.train_loss < first.train_loss


# No global model ----------------------------------------------------------------------------------------------------------------


def test_fedsa_keeps_b_and_the_head_with_the_client_and_shares_a():
    simulation = Simulation(experiment_of("fedsa-lora", ranks=[1, 3, 8, 3], participation=0.5, rounds=6))
    last: dict[int, dict[str, torch.Tensor]] = {}
    head = {name: tensor.clone() for name, tensor in simulation.server.head.items()}
    for _ in range(6):
        side, view = next_view(simulation)
        side.stages.sharing(view)
        common = simulation.server.model()[0]
        for place, k in enumerate(view.ids):
            for name, kept in last.get(k, {}).items():
                torch.testing.assert_close(view.start[name][place], kept)
            r = view.ranks[place]
            assert torch.equal(view.start["query.A"][place, :r], common["query.A"][0, :r])
        simulation.next_round()
        state = remembered(simulation, "sharing")
        last |= {k: {name: state[name][k].clone() for name in state if name != "seen"} for k in view.ids}
    assert len(last) == 4
    assert all(torch.equal(tensor, head[name]) for name, tensor in simulation.server.head.items())
    assert not any(common[f"{layer}.B"].any() for layer in LAYERS)


def test_a_personalised_accuracy_is_the_weighted_mean_of_the_clients_own_models():
    for record in simulate(experiment_of("fedsa-lora", ranks=[1, 3, 8])):
        assert record.accuracy == pytest.approx(float(record.clients["weight"] @ record.clients["accuracy"]), abs=1e-6)
        assert record.loss == pytest.approx(float(record.clients["weight"] @ record.clients["loss"]), abs=1e-6)
        assert np.isnan([record.aggregation_error, record.averaging_error, record.truncation_error]).all()


def test_who_asks_a_personalised_method_for_a_global_model_is_told_why_not():
    assert [key for key, method in METHODS.items() if method.personalised] == ["fedsa-lora"]
    result = run(experiment_of("fedsa-lora", rounds=1))
    with pytest.raises(ValueError, match=r"^sharing 'a-only' leaves no global model .*; the nearest choice is sharing 'both'\.$"):
        result.adapter()
    with pytest.raises(ValueError, match="no global model"):
        ilora.aggregate("fedsa-lora", draw_clients([2, 3], 5, 6), [0.5, 0.5])


# What goes together -------------------------------------------------------------------------------------------------------------

REFUSED = [
    (clash.stage, key, clash.other, other, clash)
    for clash in CLASHES
    for key, other in product(INGREDIENTS[clash.stage], INGREDIENTS[clash.other])
    if among(clash.these, clash.stage, key) and among(clash.those, clash.other, other)
]


@pytest.mark.parametrize(
    ("stage", "key", "other", "with_", "clash"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_what_cannot_work_is_refused_with_the_reason_and_a_choice_that_can(stage, key, other, with_, clash):
    with pytest.raises(ValueError, match=r"^option \S+ '.*' does not go with \S+ '.*': .*; the nearest choice is .*\.$"):
        Experiment(method="fedit", options={stage: key, other: with_})
    nearest_stage, nearest_key = nearest(other, clash.those).replace("'", "").split()
    resolve(at_home(stage, key), {stage: key, nearest_stage: nearest_key})


def allowed(options: dict[str, str]) -> bool:
    """Whether these ingredients go together."""
    try:
        resolve("fedit", options)
    except ValueError:
        return False
    return True


PAIRS = [
    (stage, key, other, with_)
    for stage, other in (("sharing", "aggregate"), ("sharing", "upload"), ("sharing", "initialise"), ("server", "aggregate"))
    for key, with_ in product(INGREDIENTS[stage], INGREDIENTS[other])
    if allowed({stage: key, other: with_})
]


@pytest.mark.parametrize(("stage", "key", "other", "with_"), PAIRS)
def test_whatever_is_not_refused_runs_and_ends_finite(stage, key, other, with_):
    options = {stage: key, other: with_}
    simulation = Simulation(toy_experiment(method="fedit", options=options, ranks=[1, 3], local_steps=1))
    for _ in range(2):
        record = simulation.next_round()
        assert np.isfinite([record.accuracy, record.loss]).all()
    assert np.isfinite(server_logits(simulation)).all()

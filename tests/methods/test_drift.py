"""Methods against client drift: identities between them, and what every one of them must survive."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional

from ilora.api import simulate
from ilora.clients.sampling import batch_plan, participants
from ilora.experiment import Experiment
from ilora.methods.recipes import drift
from ilora.randomness import numpy_generator
from ilora.simulation.client_round import local_work
from ilora.simulation.round_loop import Simulation
from ilora.stages.objectives import contrastive, per_sample
from ilora.stages.out_of_distribution import sample_weights, strangeness
from ilora.stages.roughness import Roughness, direction, roughness
from ilora.training.client_model import slice_clients
from ilora.training.vectorised import VectorisedEngine
from tests.laws import assert_same_bits, next_view, remembered, same_model, share_and_train
from tests.toy import (
    LAYERS,
    length,
    load_toy,
    server_logits,
    small_tasks,
    toy_experiment,
    toy_model,
    toy_weight,
    updates,
)

MIXED: dict[str, Any] = {"ranks": [1, 3, 8], "local_steps": 2, "rounds": 3}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((key, {}) for key in drift.METHODS),
    ("fedprox", {"space": "factor"}),
    ("feddyn", {"space": "factor"}),
    ("fedvra", {"aggregate": "svd", "d": 0.7}),
    ("fedvra", {"aggregate": "stack", "initialise": "fresh"}),
    ("moon", {"aggregate": "svd"}),
    ("ri-fedavg", {"directions": 2, "points": 3, "refresh": 1, "index": "raw"}),
    ("flood", {"warmup": 1, "form": "hard", "detector": "msp"}),
]
REFUSED: list[tuple[str, dict[str, Any]]] = [("feddyn", {"space": "factor"}), ("scaffold", {}), ("fedadam", {}), ("fedadamw", {})]


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


def label(value: object) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else str(value)


def iterate(one: Experiment, other: Experiment, rounds: int = 4, tolerance: float = 1e-6) -> None:
    """Both experiments hold the same model after every round, and it moves."""
    left, right = Simulation(one), Simulation(other)
    for _ in range(rounds):
        left.next_round()
        right.next_round()
        same_model(left, right, tolerance)
    assert all(length(G) > 1e-2 for G in updates(left).values())


def plain_loss(own: dict[str, Any], index: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of some samples in float64, one dense weight per layer."""
    data = load_toy().train
    weights = {f"{n}.weight": toy_weight(n).double() + own[f"{n}.B"] @ own[f"{n}.A"] for n in LAYERS}
    weights |= {n.removeprefix("head."): own[n] for n in own if n.startswith("head.")}
    logits = functional_call(toy_model().double(), weights, (data.inputs["x"][index].double(),)).logits
    return functional.cross_entropy(logits, data.labels[index])


def train_plainly(
    experiment: Experiment, share: Any, t: int, k: int, theta: dict[str, Any], extra: Any, momentum: float = 0.9
) -> dict[str, Any]:
    """Client k's local SGD in float64 from theta on cross-entropy + extra(own), one dense weight per layer."""
    own = {name: tensor.clone().requires_grad_() for name, tensor in theta.items()}
    optimizer = torch.optim.SGD(own.values(), lr=experiment.lr, momentum=momentum)
    draw = numpy_generator(experiment.seed, "batches", t, k)
    for index in torch.tensor(batch_plan(share, experiment.local_steps, experiment.batch_size, draw)):
        optimizer.zero_grad()
        (plain_loss(own, index) + extra(own)).backward()
        optimizer.step()
    return {name: tensor.detach() for name, tensor in own.items()}


# What every method must survive -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "options"), VARIANTS, ids=label)
def test_three_rounds_of_mixed_ranks_end_finite_and_resume_to_the_same_bits(method, options):
    experiment = toy_experiment(method=method, options=options, **(MIXED | {"ranks": [1, 3, 8, 2], "participation": 0.5}))
    undisturbed = list(simulate(experiment))
    for record in undisturbed:
        assert np.isfinite(record.loss)
        assert all(np.isfinite(array).all() for array in record.snapshot.values() if array.dtype != np.uint8)
    for stop in (1, 2):
        snapshot = {name: np.array(array) for name, array in undisturbed[stop - 1].snapshot.items()}
        resumed = list(simulate(Experiment.from_json(experiment.to_json()), snapshot))
        assert_same_bits(undisturbed[-1].snapshot, resumed[-1].snapshot)


@pytest.mark.parametrize("ranks", [[3], [1, 3, 8]], ids=str)
@pytest.mark.parametrize(("method", "options"), VARIANTS, ids=label)
def test_a_single_client_and_full_participation_end_finite(method, options, ranks):
    for record in simulate(toy_experiment(method=method, options=options, **(MIXED | {"ranks": ranks}))):
        assert np.isfinite([record.loss, record.train_loss, record.aggregation_error]).all()


@pytest.mark.parametrize("still", [{"lr": 0.0}, {"local_steps": 0}], ids=["lr 0", "no steps"])
@pytest.mark.parametrize(("method", "options"), VARIANTS, ids=label)
def test_zero_learning_leaves_the_servers_function_unchanged(method, options, still):
    simulation = Simulation(toy_experiment(method=method, options=options, **(MIXED | still)))
    before = server_logits(simulation)
    for _ in range(3):
        simulation.next_round()
        np.testing.assert_allclose(server_logits(simulation), before, atol=1e-5)


@pytest.mark.parametrize(("method", "options"), VARIANTS, ids=label)
def test_both_engines_agree(method, options):
    experiment = toy_experiment(method=method, options=options, **(MIXED | {"optimizer": "sgd", "lr": 0.3, "rounds": 2}))
    fast, slow = Simulation(experiment), Simulation(experiment.replace(engine="sequential"))
    for _ in range(2):
        one, other = fast.next_round(), slow.next_round()
        same_model(fast, slow, 1e-5)
        assert one.forwards == other.forwards
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)


# FedProx ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["product", "factor"])
def test_without_a_pull_fedprox_is_fedit_bit_for_bit(space):
    prox = list(simulate(toy_experiment(method="fedprox", options={"mu": 0.0, "space": space}, **MIXED)))
    plain = list(simulate(toy_experiment(method="fedit", **MIXED)))
    assert_same_bits(prox[-1].snapshot, plain[-1].snapshot)


def test_a_strong_pull_keeps_clients_near_what_they_received():
    moved = []
    for mu in (0.0, 1.0, 10.0):
        record = next(simulate(toy_experiment(method="fedprox", options={"mu": mu}, local_steps=20, optimizer="sgd", lr=0.05)))
        moved.append(sum(layer.movement_norm.sum() for layer in record.layers.values()))
    assert moved[0] > moved[1] > moved[2] > 0


def test_forward_passes_are_a_hand_count():
    plain = next(simulate(toy_experiment(method="fedprox", **MIXED)))
    assert plain.forwards == 3 * 2 * 5
    gradients = next(simulate(toy_experiment(method="ilora", **MIXED)))
    assert gradients.forwards == 3 * 2 * 5 + 240


# FedDyn and FedVRA ------------------------------------------------------------------------------------------------------------

ALIKE: dict[str, Any] = {"ranks": [3, 3, 3, 3], "participation": 0.5, "optimizer": "sgd", "lr": 0.3, "local_steps": 5}


@pytest.mark.parametrize("space", ["product", "factor"])
@pytest.mark.parametrize("ranks", [[3, 3, 3, 3], [1, 3, 8, 2]], ids=str)
def test_fedvra_of_1_and_1_is_feddyn_iterate_for_iterate(space, ranks):
    how = ALIKE | {"ranks": ranks}
    vra = toy_experiment(method="fedvra", options={"a": 1.0, "d": 1.0, "gamma": 0.1, "space": space}, **how)
    dyn = toy_experiment(method="feddyn", options={"gamma": 0.1, "space": space}, **how)
    iterate(vra, dyn)


@pytest.mark.parametrize("space", ["product", "factor"])
@pytest.mark.parametrize("ranks", [[3, 3, 3, 3], [1, 3, 8, 2]], ids=str)
def test_fedvra_of_0_and_1_is_fedprox_iterate_for_iterate(space, ranks):
    how = ALIKE | {"ranks": ranks}
    vra = toy_experiment(
        method="fedvra",
        options={"a": 0.0, "d": 1.0, "gamma": 0.3, "space": space, "penalty": "equal", "weighting": "samples"},
        **how,
    )
    iterate(vra, toy_experiment(method="fedprox", options={"mu": 0.3, "space": space}, **how))


@pytest.mark.parametrize("gamma", [0.0, 1e-7])
def test_fedvra_without_duals_and_with_vanishing_gamma_is_fedavg(gamma):
    vra = toy_experiment(method="fedvra", options={"a": 0.0, "gamma": gamma, "weighting": "samples"}, **ALIKE)
    iterate(vra, toy_experiment(method="fedit", **ALIKE))


def test_feddyn_in_factor_space_is_the_authors_code_on_lists_of_numbers():
    """theta_k by SGD on F_k + alpha_k (<theta, h_k - theta_t> + |theta|^2 / 2); h_k += theta_k - theta_t; mean + mean of h."""
    experiment = toy_experiment(method="feddyn", options={"gamma": 0.2, "space": "factor"}, **ALIKE)
    simulation, alpha = Simulation(experiment), 0.2
    names = [*(f"{layer}.{factor}" for layer in simulation.server.layers for factor in "AB"), *simulation.server.head]
    sizes = np.array([len(share) for share in simulation.client_data.shares], float)
    h = [dict.fromkeys(names, 0.0) for _ in range(4)]
    theta = {name: tensor[0].double() for name, tensor in simulation.server.model()[0].items()}
    for t in range(1, 5):
        ids = participants(4, 0.5, experiment.seed, t)
        trained = []
        for k in ids:
            weight = alpha / (sizes[k] / sizes.sum() * 4)
            own = train_plainly(
                experiment, simulation.client_data.shares[k], t, k, theta,
                lambda own, k=k, weight=weight, theta=theta: weight
                * sum((own[n] * (h[k][n] - theta[n])).sum() + own[n].square().sum() / 2 for n in names),
            )  # fmt: skip
            h[k] = {name: h[k][name] + own[name] - theta[name] for name in names}
            trained.append(own)
        theta = {
            name: sum(own[name] for own in trained) / 2 + sum(np.asarray(one[name]) for one in h) / 4 for name in names
        }  # fmt: skip
        theta = {name: torch.as_tensor(tensor) for name, tensor in theta.items()}
        simulation.next_round()
        now = simulation.server.model()[0]
        for name in names:
            np.testing.assert_allclose(now[name][0], theta[name], atol=2e-5, err_msg=f"round {t}, {name}")


def test_in_product_space_feddyn_is_the_dense_one_where_no_rank_is_cut():
    """With one client of full rank the dual is a dense matrix: theta = G_k + u, u the sum of all movements."""
    experiment = toy_experiment(method="feddyn", options={"gamma": 0.5}, ranks=[10], optimizer="sgd", lr=5e-2)
    simulation = Simulation(experiment)
    u = dict.fromkeys(simulation.server.layers, 0.0)
    for _ in range(4):
        record = simulation.next_round()
        for name, G in updates(simulation).items():
            start, trained = (
                record.factors[f"{name}/{stage}/B"][0].astype(float) @ record.factors[f"{name}/{stage}/A"][0]
                for stage in ("start", "trained")
            )
            u[name] = u[name] + trained - start
            np.testing.assert_allclose(G, trained + u[name], atol=1e-5)
        assert record.clients["dual_forgotten"][0] < 1e-6


def test_what_the_cut_of_a_dual_forgets_and_its_age_are_on_record():
    simulation = Simulation(toy_experiment(method="fedvra", ranks=[1, 1, 1, 1], participation=0.5, rounds=6))
    last: dict[int, int] = {}
    forgotten = []
    for t in range(1, 7):
        record = simulation.next_round()
        for k, age in zip(record.clients["id"].tolist(), record.clients["dual_age"].tolist(), strict=True):
            assert age == t - 1 - last.get(k, 0)
            last[k] = t
        forgotten.extend(record.clients["dual_forgotten"].tolist())
    assert 0 < max(forgotten) < 1


@pytest.mark.parametrize("options", [{"aggregate": "svd"}, {"aggregate": "concat-qr"}, {"upload": "rotate"}], ids=label)
def test_numbers_remembered_per_slot_are_refused_where_slots_change_their_meaning(options):
    ((stage, key),) = options.items()
    for method, more in REFUSED:
        refused = (
            rf"^option \S+ '.*' does not go with {stage} '{key}': numbers are remembered .*; the nearest choice is {stage} '.*\.$"
        )
        with pytest.raises(ValueError, match=refused):
            toy_experiment(method=method, options=options | more)
    toy_experiment(method="feddyn", options=options)


# SCAFFOLD ---------------------------------------------------------------------------------------------------------------------


def test_scaffold_is_option_ii_on_lists_of_numbers(monkeypatch):
    """Plain SGD: g - c_k + c; c_k+ = c_k - c + (theta_t - theta_k) / (K eta); c += 1/N of the changes; the mean of theta_k."""
    monkeypatch.setattr("ilora.training.optimizers.MOMENTUM", 0.0)
    experiment = toy_experiment(method="scaffold", **ALIKE)
    simulation = Simulation(experiment)
    theta = {name: tensor[0].double() for name, tensor in simulation.server.model()[0].items()}
    c = {name: torch.zeros_like(tensor) for name, tensor in theta.items()}
    c_k = [dict(c) for _ in range(4)]
    for t in range(1, 6):
        trained, new = [], {}
        for k in participants(4, 0.5, experiment.seed, t):
            tilt = {name: c[name] - c_k[k][name] for name in theta}
            push = lambda own, tilt=tilt: sum((own[n] * tilt[n]).sum() for n in own)  # noqa: E731
            own = train_plainly(experiment, simulation.client_data.shares[k], t, k, theta, push, momentum=0.0)
            trained.append(own)
            new[k] = {name: c_k[k][name] - c[name] + (theta[name] - own[name]) / (5 * experiment.lr) for name in theta}
        theta = {name: sum(own[name] for own in trained) / 2 for name in theta}
        for k, variate in new.items():
            c = {name: c[name] + (variate[name] - c_k[k][name]) / 4 for name in c}
        for k, variate in new.items():
            c_k[k] = variate
        simulation.next_round()
        now = simulation.server.model()[0]
        for name, want in theta.items():
            np.testing.assert_allclose(now[name][0], want, atol=2e-5, err_msg=f"round {t}, {name}")
            np.testing.assert_allclose(remembered(simulation, "correction")[f"c/{name}"], c[name], atol=1e-5)


# FedAdam ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [1e-3, 1e-9])
def test_fedadam_is_adam_in_numpy_on_the_averaged_change(tau):
    options = {"server_lr": 0.01, "tau": tau}
    simulation = Simulation(toy_experiment(method="fedadam", options=options, ranks=[1, 3, 8]))
    m: dict[str, Any] = {}
    v: dict[str, Any] = {}
    for _ in range(4):
        before = {name: tensor[0].numpy().astype(float) for name, tensor in simulation.server.model()[0].items()}
        record = simulation.next_round()
        for name, tensor in simulation.server.model()[0].items():
            if name.startswith("head."):
                continue
            layer, factor = name[:-2], name[-1]
            start, trained = (record.factors[f"{layer}/{stage}/{factor}"].astype(float) for stage in ("start", "trained"))
            D = np.einsum("k,kij->ij", record.clients["weight"], trained - start)
            m[name] = 0.9 * m.get(name, 0) + 0.1 * D
            v[name] = 0.99 * v.get(name, 0) + 0.01 * D**2
            want = before[name] + 0.01 * m[name] / (np.sqrt(v[name]) + tau)
            settled = np.abs(D) > 1e-7  # below it, tau = 1e-9 makes whole steps of rounding
            np.testing.assert_allclose(tensor[0].numpy()[settled], want[settled], atol=1e-5, err_msg=name)


def test_with_equal_ranks_the_mean_of_changes_is_the_mean():
    iterate(
        toy_experiment(method="fedit", options={"aggregate": "mean-of-changes"}, **ALIKE), toy_experiment(method="fedit", **ALIKE)
    )


# MOON -------------------------------------------------------------------------------------------------------------------------


def test_the_contrast_is_the_formula_on_numbers():
    z, near, far = np.random.default_rng(0).normal(size=(3, 2, 5, 7))

    def cosine(x: Any, y: Any) -> Any:
        return (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)

    one, other = np.exp(cosine(z, near) / 0.5), np.exp(cosine(z, far) / 0.5)
    found = contrastive(torch.tensor(z), torch.tensor(near), torch.tensor(far), 0.5)
    np.testing.assert_allclose(found, -np.log(one / (one + other)), atol=1e-12)


def test_in_its_first_round_moon_is_fedit_and_later_it_is_not_and_its_passes_are_counted():
    moon, plain = Simulation(toy_experiment(method="moon")), Simulation(toy_experiment(method="fedit"))
    assert moon.next_round().forwards == 3 * plain.next_round().forwards
    same_model(moon, plain)
    moon.next_round()
    plain.next_round()
    with pytest.raises(AssertionError):
        same_model(moon, plain)


def test_the_last_model_is_the_one_that_the_client_trained():
    simulation = Simulation(toy_experiment(method="moon", ranks=[2, 4, 3, 2], participation=0.5))
    record = simulation.next_round()
    state = remembered(simulation, "objective")
    present = record.clients["id"].tolist()
    assert state["seen"].tolist() == [float(k in present) for k in range(4)]
    np.testing.assert_array_equal(state["previous/query.A"][present], record.factors["query/trained/A"])


@pytest.mark.parametrize("options", [{"aggregate": "stack"}, {"initialise": "qr", "aggregate": "concat-qr"}], ids=label)
def test_moon_is_refused_where_the_base_changes_beneath_the_last_model(options):
    with pytest.raises(
        ValueError, match=r"^option objective 'contrast' does not go with aggregate .*; the nearest choice is .*'mean'"
    ):
        toy_experiment(method="moon", options=options)


# FLood ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["soft", "hard"])
@pytest.mark.parametrize("detector", ["energy", "msp"])
def test_weights_have_mean_1_and_rise_with_strangeness(detector, form):
    logits = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).double()
    score = strangeness(logits, detector)
    z = logits.numpy()
    want = -np.log(np.exp(z).sum(1)) if detector == "energy" else -(np.exp(z).max(1) / np.exp(z).sum(1))
    np.testing.assert_allclose(score, want)
    w = sample_weights(score, form, 0.75, 2.0, 1.0)
    assert float(w.mean()) == pytest.approx(1)
    assert (w[score.argsort()].diff() >= 0).all()
    assert float(w.max() / w.min()) == pytest.approx(3) if form == "hard" else 1 < float(w.max() / w.min()) < 3
    if form == "hard":
        assert int((w > 1).sum()) == 10
    assert sample_weights(torch.zeros(5), form, 0.75, 2.0, 1.0).tolist() == pytest.approx([1] * 5)


def test_flood_is_fedit_in_its_warm_up_and_counts_its_passes_after_it():
    flood, plain = Simulation(toy_experiment(method="flood", options={"warmup": 2})), Simulation(toy_experiment(method="fedit"))
    for _ in range(2):
        assert flood.next_round().forwards == plain.next_round().forwards == 45
        same_model(flood, plain, 0)
    record = flood.next_round()
    assert record.forwards == 45 + 240
    assert record.clients["weight"].sum() == pytest.approx(1)
    p, n = record.clients["weight"], record.clients["samples"]
    assert ((p / n).argsort() == record.clients["confidence"].argsort()).all()


def test_the_servers_weighting_can_be_switched_off():
    for record in simulate(toy_experiment(method="flood", options={"warmup": 0, "weighting": "samples"}, rounds=2)):
        np.testing.assert_allclose(record.clients["weight"], record.clients["samples"] / 240, rtol=1e-6)


def test_the_servers_weights_are_the_formula_even_where_its_powers_overflow():
    options = {"warmup": 0, "gentleness": 0.01}  # with 20 clients the largest power is far beyond float32
    (record,) = simulate(toy_experiment(method="flood", options=options, ranks=[2] * 20, rounds=1))
    c, n = record.clients["confidence"].astype(float), record.clients["samples"]
    power = (c - c.mean()) / (c.std() * 0.01)
    assert power.max() > np.log(np.finfo(np.float32).max)
    p = n * np.exp(power - power.max())
    np.testing.assert_allclose(record.clients["weight"], p / p.sum(), atol=1e-3)


def test_every_sample_meets_its_own_weight():
    simulation = Simulation(toy_experiment(method="flood", options={"warmup": 0}, ranks=[2, 4, 3, 2], participation=0.5))
    side, view = next_view(simulation)
    engine = side.engine
    assert isinstance(engine, VectorisedEngine)
    view.work.shared = side.stages.sharing(view)
    work = local_work(side, view)
    given = side.stages.hooks["objective"].begin(view)
    for k, own in enumerate(view.samples):
        weights = dict(zip(given["samples"][k].tolist(), given["weights"][k].tolist(), strict=True))
        want = sample_weights(strangeness(view.local_logits[k], "energy"), "soft", 0.75, 1.0, 1.0)
        assert [weights[i] for i in own.tolist()] == pytest.approx(want.tolist())
        step = work[k : k + 1].step(engine.model.forward, simulation.client_data.train, slice_clients(view.start, [k]), 0)
        w = np.array([weights[i] for i in work.batches[k, 0].tolist()])
        assert float(side.stages.objective(step)) == pytest.approx(float((w * per_sample(step)[0].numpy()).mean()))


# RI-FedAvg --------------------------------------------------------------------------------------------------------------------


def test_a_bowl_at_its_minimum_is_not_rough_and_ripples_are():
    t = torch.linspace(-1, 1, 11).double()
    curvature = torch.rand(1, 16, 1, generator=torch.Generator().manual_seed(0)).double() + 0.1
    bowl = curvature * t.square()
    assert float(roughness(bowl, "range")) == pytest.approx(0, abs=1e-12)
    assert float(roughness(bowl, "none")) > 0.2
    assert float(roughness(bowl + 0.05 * torch.sin(20 * t + 9 * curvature), "range")) > 0.02
    assert float(roughness(torch.ones(1, 16, 11), "range")) == 0


def test_every_direction_moves_each_layer_by_the_radius():
    simulation = Simulation(toy_experiment(method="ri-fedavg", options={"radius": 0.05}, ranks=[1, 3, 8], scaling="4/r"))
    side, view = next_view(simulation)
    rule = side.stages.hooks["objective"]
    assert isinstance(rule, Roughness)
    for _ in range(2):  # from B = 0, and from where training led
        share_and_train(side, view)
        step = direction(view, 0, rule.radius)
        for name, layer in simulation.server.layers.items():
            A, B = view.result[f"{name}.A"].double(), view.result[f"{name}.B"].double()
            there = (B + step[f"{name}.B"]) @ (A + step[f"{name}.A"])
            moved = view.base.scales[:, None, None] * (there - B @ A)
            want = 0.05 * length(layer.weight)
            np.testing.assert_allclose(moved.flatten(1).norm(dim=1), [want] * 3, rtol=1e-3)
        side, view = next_view(simulation)
        owned = view.spread(view.start, view.owned, view.owned)
        view.work.start = {name: tensor + 0.1 * owned[name] for name, tensor in view.start.items()}


def test_roughness_is_measured_every_other_round_counted_and_pulls_from_the_next_round_on():
    options = {"directions": 4, "points": 5, "refresh": 2, "normalise": "none"}
    simulation = Simulation(toy_experiment(method="ri-fedavg", options=options))
    first, second, third = (simulation.next_round() for _ in range(3))
    assert [first.forwards, second.forwards, third.forwards] == [45 + 4 * 5 * 15, 45, 45 + 4 * 5 * 15]
    assert not first.clients["roughness"].any()
    assert (second.clients["roughness"] > 0).all()
    np.testing.assert_array_equal(second.clients["roughness"], third.clients["roughness"])


def test_as_long_as_nothing_was_measured_ri_fedavg_is_fedit():
    rough, plain = Simulation(toy_experiment(method="ri-fedavg")), Simulation(toy_experiment(method="fedit"))
    rough.next_round()
    plain.next_round()
    same_model(rough, plain, 0)


# FedAdamW ---------------------------------------------------------------------------------------------------------------------


def test_fedadamw_is_a_plain_loop_over_lists_of_numbers():
    """AdamW from v = its mean, n counted on, rate (1 - 0.5) eta, then + 0.5 D_G / K; x + the mean change."""
    experiment = toy_experiment(method="fedadamw", **(ALIKE | {"lr": 1e-2}))
    simulation = Simulation(experiment)
    theta = {name: tensor[0].double() for name, tensor in simulation.server.model()[0].items()}
    direction: dict[str, Any] = {name: torch.zeros_like(x) for name, x in theta.items()}
    v_mean = dict.fromkeys(theta, 0.0)
    for t in range(1, 5):
        trained, moments = [], []
        for k in participants(4, 0.5, experiment.seed, t):
            own = {name: tensor.clone() for name, tensor in theta.items()}
            m = {name: torch.zeros_like(tensor) for name, tensor in theta.items()}
            v = {name: torch.full_like(tensor, v_mean[name]) for name, tensor in theta.items()}
            plan = batch_plan(simulation.client_data.shares[k], 5, 5, numpy_generator(experiment.seed, "batches", t, k))
            for i, index in enumerate(torch.tensor(plan), start=1):
                leaves = {name: tensor.requires_grad_() for name, tensor in own.items()}
                slopes = dict(zip(leaves, torch.autograd.grad(plain_loss(leaves, index), list(leaves.values())), strict=True))
                n = (t - 1) * 5 + i
                for name, g in slopes.items():
                    m[name] = 0.9 * m[name] + 0.1 * g
                    v[name] = 0.999 * v[name] + 0.001 * g**2
                    adam = m[name] / (1 - 0.9**n) / ((v[name] / (1 - 0.999**n)).sqrt() + 1e-8)
                    own[name] = own[name].detach() - 0.5 * experiment.lr * adam + 0.5 / 5 * direction[name]
            trained.append(own)
            moments.append(v)
        direction = {name: sum(own[name] - theta[name] for own in trained) / 2 for name in theta}
        v_mean = {name: float(sum(v[name].mean() for v in moments) / 2) for name in theta}
        theta = {name: theta[name] + direction[name] for name in theta}
        simulation.next_round()
        now = simulation.server.model()[0]
        for name, want in theta.items():
            np.testing.assert_allclose(now[name][0], want, atol=1e-4, err_msg=f"round {t}, {name}")
            kept = remembered(simulation, "correction")[f"v/{name}"]
            assert float(kept) == pytest.approx(v_mean[name], rel=1e-3)


def test_the_global_direction_travels_down_only():
    plain, with_direction = (next(simulate(toy_experiment(method=method))) for method in ("fedit", "fedadamw"))
    moments = 3 * 6  # one mean of v for each tensor and client, each way
    assert with_direction.floats_up == plain.floats_up + moments
    assert with_direction.floats_down == 2 * plain.floats_down + moments

"""LoRA-Ensemble and DFL: what they reduce to, what stays with a client, and what both must survive."""

from copy import copy
from typing import Any

import numpy as np
import pytest
import torch

from ilora.api import simulate
from ilora.clients.sampling import participants
from ilora.experiment import Experiment
from ilora.lab.suites.over_seeds import CONTROLS, rows_of
from ilora.simulation.calibration import consensus, ensemble
from ilora.simulation.client_round import local_work
from ilora.simulation.evaluation import first_samples, own_answers
from ilora.simulation.round_loop import Simulation
from ilora.stages.branches import Disentangle, borrowed, branch_slots, only
from ilora.stages.features import class_means, guessed, linear_dependence, principal_plane
from ilora.training.client_model import slice_clients
from tests.laws import assert_same_bits, next_view, remembered, same_model
from tests.toy import LAYERS, small_tasks, toy_experiment

MIXED: dict[str, Any] = {"ranks": [1, 3, 8], "local_steps": 4, "rounds": 3}
DFL: dict[str, Any] = {"method": "dfl", "skew": "attribute"}
VARIANTS: list[dict[str, Any]] = [
    {"method": "lora-ensemble", "options": {"members": 3}},
    {"method": "lora-ensemble", "options": {"members": 2, "aggregate": "concat-qr", "gain": 3.0}},
    DFL,
    DFL | {"options": {"aggregate": "svd", "private_rank": 1, "transfer": 0.0}},
    DFL | {"skew": "label", "options": {"negative_control": True}, "scaling": "8/r"},
]


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


def label(value: Any) -> str:
    return "-".join(map(str, (value["method"], *value.get("options", {}).values())))


def only_member(simulation: Simulation, i: int) -> Simulation:
    """The same simulation as if one of its members were its only server."""
    shown = copy(simulation)
    shown.servers = [simulation.servers[i]]
    return shown


variants = pytest.mark.parametrize("variant", VARIANTS, ids=label)


# What both must survive -------------------------------------------------------------------------------------------------------


@variants
def test_three_rounds_of_mixed_ranks_end_finite_and_resume_to_the_same_bits(variant):
    experiment = toy_experiment(**(MIXED | variant | {"ranks": [1, 3, 8, 2], "participation": 0.5}))
    undisturbed = list(simulate(experiment))
    for record in undisturbed:
        assert np.isfinite([record.loss, record.train_loss, *record.scores.values()]).all()
    for stop in (1, 2):
        snapshot = {name: np.array(array) for name, array in undisturbed[stop - 1].snapshot.items()}
        resumed = list(simulate(Experiment.from_json(experiment.to_json()), snapshot))
        assert_same_bits(undisturbed[-1].snapshot, resumed[-1].snapshot)
        assert resumed[-1].scores == undisturbed[-1].scores


@pytest.mark.parametrize("ranks", [[3], [1, 3, 8]], ids=str)
@variants
def test_a_single_client_and_full_participation_end_finite(variant, ranks):
    for record in simulate(toy_experiment(**(MIXED | variant | {"ranks": ranks}))):
        assert np.isfinite([record.loss, record.train_loss, record.aggregation_error]).all()


@variants
def test_both_engines_agree(variant):
    experiment = toy_experiment(**(MIXED | variant | {"optimizer": "sgd", "lr": 0.1}))
    fast, slow = Simulation(experiment), Simulation(experiment.replace(engine="sequential"))
    for _ in range(2):
        one, other = fast.next_round(), slow.next_round()
        for i in range(len(fast.servers)):
            same_model(only_member(fast, i), only_member(slow, i), 1e-5)
        assert one.scores == pytest.approx(other.scores, abs=1e-4)
        np.testing.assert_allclose(one.clients["personal_accuracy"], other.clients["personal_accuracy"])
        for name in one.pictures.keys() - {"shared/points", "private/points"}:
            np.testing.assert_allclose(one.pictures[name], other.pictures[name], atol=1e-4, err_msg=name)


@variants
def test_zero_learning_leaves_every_member_unchanged(variant):
    simulation = Simulation(toy_experiment(**(MIXED | variant | {"lr": 0.0})))
    before = [simulation.engine.logits(*member.model(), simulation.client_data.test) for member in simulation.servers]
    for _ in range(2):
        simulation.next_round()
    after = [simulation.engine.logits(*member.model(), simulation.client_data.test) for member in simulation.servers]
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)


# LoRA-Ensemble ----------------------------------------------------------------------------------------------------------------


def ensemble_of(members: int, **changes: Any) -> Experiment:
    return toy_experiment(method="lora-ensemble", **(MIXED | changes | {"options": {"members": members}}))


def test_one_member_is_plain_lora_bit_for_bit():
    alone = list(simulate(ensemble_of(1)))
    plain = list(simulate(toy_experiment(method="fedit", options={"initialise": "xavier"}, **MIXED)))
    assert_same_bits(alone[-1].snapshot, plain[-1].snapshot)
    assert alone[-1].scores == plain[-1].scores
    measured = {"seconds": 0, "peak_megabytes": 0}
    assert alone[-1].metrics() | measured == plain[-1].metrics() | measured


def test_every_member_is_a_federated_run_of_its_own_on_the_same_clients_and_batches():
    own, first, lone = Simulation(ensemble_of(3)), Simulation(ensemble_of(1)), Simulation(ensemble_of(1))
    lone.servers = only_member(Simulation(ensemble_of(3)), 2).servers
    heads = [member.head["head.classifier.weight"] for member in own.servers]
    assert not any(torch.equal(one, other) for one, other in ((heads[0], heads[1]), (heads[1], heads[2])))
    for _ in range(2):
        own.next_round()
        first.next_round()
        lone.next_round()
    same_model(only_member(own, 0), first, 0)
    same_model(only_member(own, 2), lone, 0)


def test_n_members_cost_n_times_the_bytes_and_passes():
    one, four = (next(simulate(ensemble_of(n))) for n in (1, 4))
    for cost in ("forwards", "bytes_up", "bytes_down", "floats_up"):
        assert getattr(four, cost) == 4 * getattr(one, cost)


def test_the_ensemble_answers_with_the_mean_of_its_members_probabilities():
    simulation = Simulation(ensemble_of(3))
    record = simulation.next_round()
    logits = torch.cat([simulation.engine.logits(*member.model(), simulation.client_data.test) for member in simulation.servers])
    p, labels = logits.double().softmax(-1), simulation.client_data.test.labels
    assert record.accuracy == pytest.approx(float((p.mean(0).argmax(-1) == labels).double().mean()))
    assert record.loss == pytest.approx(float(-p.mean(0).gather(1, labels[:, None]).log().mean()), abs=1e-5)
    found = ensemble(p, labels)
    assert record.scores["members disagreement"] == pytest.approx(found.disagreement)
    assert record.scores["members calibration error"] == pytest.approx(found.calibration_error, abs=1e-6)
    np.testing.assert_allclose(record.pictures["members/probabilities"], p, atol=1e-6)
    np.testing.assert_allclose(record.pictures["server/probabilities"][0], p.mean(0), atol=1e-6)
    torch.testing.assert_close(consensus(list(logits)).exp().double(), p.mean(0), atol=1e-5, rtol=0)


def test_the_clients_are_an_ensemble_under_any_method_at_no_cost():
    simulation = Simulation(toy_experiment(method="ilora", **MIXED))
    record = simulation.next_round()
    assert record.forwards == 3 * 4 * 5 + 240
    assert record.pictures["clients/probabilities"].shape == (3, 30, 4)
    bins = record.pictures["clients/bins"]
    assert bins[0].sum() == 30
    assert record.scores["clients accuracy"] == pytest.approx((bins[0] * bins[2]).sum() / 30)
    assert record.scores["clients member accuracy"] == pytest.approx(record.clients["accuracy"].mean())


# DFL --------------------------------------------------------------------------------------------------------------------------


def test_private_slots_never_leave_and_come_back_to_their_client():
    simulation = Simulation(toy_experiment(**(MIXED | DFL)))
    first = simulation.next_round()
    state = {name: tensor.clone() for name, tensor in remembered(simulation, "sharing").items()}
    side, view = next_view(simulation)
    received = {name: tensor.clone() for name, tensor in view.start.items()}
    shared_ranks = side.stages.sharing(view).ranks
    assert shared_ranks == (1, 2, 6)
    (reply,) = simulation.clients.round([simulation.server.broadcast(view.ids)], lambda fraction: None)
    for layer in view.layers:
        seen = [first.factors[f"{layer}/trained/{factor}"] for factor in "AB"]
        sent = [reply.sent[f"{layer}.{factor}"] for factor in "AB"]
        for k, (rank, shared) in enumerate(zip((1, 3, 8), shared_ranks, strict=True)):
            for A, B in (seen, sent):
                assert not A[k, shared:].any()
                assert not B[k, :, shared:].any()
            assert torch.equal(view.start[f"{layer}.A"][k, shared:rank], state[f"{layer}.A"][k, : rank - shared])
            assert torch.equal(view.start[f"{layer}.A"][k, :shared], received[f"{layer}.A"][k, :shared])
            assert rank == shared or view.start[f"{layer}.B"][k, :, shared:rank].any()


def test_each_phase_moves_its_own_branch_only():
    simulation = Simulation(toy_experiment(**(MIXED | DFL)))
    side, view = next_view(simulation)
    view.work.shared = side.stages.sharing(view)
    work, seen = local_work(side, view), []

    def train(part: Any) -> Any:
        seen.append(part)
        return simulation.engine.train(part, lambda done, of: None)

    trained = side.stages.hooks["objective"].train(view, work, train)
    shared, private = branch_slots(view.ranks, view.shared.ranks, view.setting).values()
    assert torch.equal(shared | private, view.owned)
    assert not (shared & private).any()
    assert [part.batches.shape[1] for part in seen] == [2, 2]
    for layer in view.layers:
        after_private = seen[1].start[f"{layer}.B"]
        moved = (after_private != work.start[f"{layer}.B"]).any(1)
        assert torch.equal(moved, private)
        moved = (trained.parameters[f"{layer}.B"] != after_private).any(1)
        assert torch.equal(moved, shared)


def test_a_branch_alone_is_the_model_without_the_others_slots():
    simulation = Simulation(toy_experiment(**(MIXED | DFL)))
    simulation.next_round()
    side, view = next_view(simulation)
    shared = branch_slots(view.ranks, side.stages.sharing(view).ranks, view.setting)["shared"]
    bare = dict(view.start)
    for layer in view.layers:
        bare[f"{layer}.B"] = bare[f"{layer}.B"] * shared[:, None, :]
    want = simulation.engine.logits(bare, view.base, simulation.client_data.test)
    got = simulation.engine.logits(only(shared, view.layers, view.start), view.base, simulation.client_data.test)
    torch.testing.assert_close(got, want)
    server = simulation.engine.logits(*simulation.server.model(), simulation.client_data.test)[0]
    torch.testing.assert_close(got[2], server, atol=1e-5, rtol=0)  # the giant's shared slots are all that the server has


def test_a_clients_own_answer_is_the_mean_of_its_branches():
    simulation = Simulation(toy_experiment(**(MIXED | DFL)))
    (reply,) = simulation.clients.round([simulation.server.broadcast(range(3))], lambda fraction: None)
    models = reply.observed.models
    some = first_samples(simulation.client_data.test, 3)
    branches = branch_slots(models.ranks, models.shared.ranks, simulation.setting)
    both = [
        simulation.engine.logits(
            slice_clients(only(branches[branch], tuple(LAYERS), models.parameters), [2]), models.base[[2]], some
        )
        for branch in ("shared", "private")
    ]
    sharing = simulation.server.stages.hooks["sharing"]
    torch.testing.assert_close(own_answers(sharing, [models], [2], some), (both[0] + both[1]) / 2)


def test_mean_features_travel_and_are_counted():
    experiment = toy_experiment(**(MIXED | DFL | {"local_steps": 60}))  # long enough for every client to meet every class
    first, second = list(simulate(experiment))[:2]
    factors = sum((10 + 12 + 14 + 10) * shared for shared in (1, 2, 6))
    heads = 3 * (14 * 4 + 4)
    assert first.floats_up == factors + heads + 3 * 4 * 14
    assert second.floats_down == factors + heads + 3 * 2 * 4 * 14
    assert first.forwards == 3 * 60 * 5 * 2 + 240


def test_without_a_local_step_dfl_sends_no_features_and_draws_no_branches():
    for record in simulate(toy_experiment(**(MIXED | DFL | {"local_steps": 0, "rounds": 2}))):
        assert record.aggregation_error == 0
        assert not any(name.startswith(("shared/", "private/", "points/")) for name in record.pictures)


def test_borrowed_styles_are_the_plain_loop():
    simulation = Simulation(toy_experiment(**(MIXED | DFL)))
    simulation.next_round()
    side, view = next_view(simulation)
    view.work.shared = side.stages.sharing(view)
    work = local_work(side, view)
    assert isinstance(side.stages.hooks["objective"], Disentangle)
    start = only(branch_slots(view.ranks, view.shared.ranks, view.setting)["shared"], view.layers, view.start)
    step = work.step(simulation.engine.model.forward, simulation.client_data.train, start, 0)  # type: ignore[attr-defined]
    state = remembered(simulation, "objective")
    for k in range(3):
        W, b = (step.parameters[f"head.classifier.{name}"][k] for name in ("weight", "bias"))
        losses = []
        for j in (other for other in range(3) if other != k):
            for z, y in zip(step.output.features[k], step.labels[k].tolist(), strict=True):
                if state["known"][j, y]:
                    losses.append(-float((W @ (z + state["v"][j, y]) + b).log_softmax(0)[y]))
        assert float(borrowed(step)[k]) == pytest.approx(np.mean(losses), abs=1e-5)


def test_without_attribute_skew_dfl_is_refused_unless_asked_for_as_a_negative_control():
    with pytest.raises(
        ValueError, match=r"^skew is 'label'; allowed: attribute, which method dfl needs, or .*negative_control.*\.$"
    ):
        toy_experiment(method="dfl")
    assert rows_of(["dfl"]) == []
    rows = {row.title: row for group in CONTROLS.values() for row in group if row.method == "dfl"}
    control = toy_experiment(method="dfl", options=rows["DFL, label skew"].options, **rows["DFL, label skew"].changes)
    assert (control.skew, control.options) == ("label", {"negative_control": True})
    assert toy_experiment(method="dfl", **rows["DFL, attribute skew"].changes).skew == "attribute"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"aggregate": "stack"}, "aggregate 'stack'"),
        ({"initialise": "qr"}, "initialise 'qr'"),
        ({"correction": "control-variates"}, "correction 'control-variates'"),
        ({"objective": "cross-entropy"}, "objective 'cross-entropy'"),
        ({"sharing": "both"}, "sharing 'both'"),
        ({"server": "dual-shift"}, "server 'dual-shift'"),
    ],
    ids=str,
)
def test_what_would_touch_the_private_branch_is_refused(options, names):
    with pytest.raises(ValueError, match=rf"does not go with .*{names}.*the nearest choice is|{names}.*the nearest choice is"):
        toy_experiment(**(DFL | {"options": options}))


# Features ---------------------------------------------------------------------------------------------------------------------


def test_dependence_is_one_for_itself_zero_for_uncorrelated_and_blind_to_what_is_not_linear():
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(2, 4000, 3, generator=draw)
    assert linear_dependence(z, z).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert linear_dependence(z, torch.randn(2, 4000, 5, generator=draw)).max() < 0.01
    assert linear_dependence(z, 2 * z + 3).tolist() == pytest.approx([1, 1], abs=1e-4)
    assert linear_dependence(z, z.square()).max() < 0.01
    flat = torch.ones(1, 1, 3, requires_grad=True)
    linear_dependence(flat, flat).sum().backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_class_means_are_means_and_know_what_is_missing():
    mean, known = class_means(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.tensor([2, 0, 2]), 3)
    assert mean.tolist() == [[3, 4], [0, 0], [3, 4]]
    assert known.tolist() == [1, 0, 1]


def test_the_probe_names_clients_that_differ_and_guesses_where_they_do_not():
    draw = torch.Generator().manual_seed(1)
    z = torch.randn(4, 200, 6, generator=draw)
    apart = z + 5 * torch.eye(4, 6)[:, None]
    assert guessed(apart).min() > 0.95
    assert abs(float(guessed(z).mean()) - 0.25) < 0.1
    assert guessed(z[:1]).isnan().all()


def test_the_principal_plane_is_numpys():
    z = torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(2))
    flat = z.flatten(0, 1).double().numpy()
    centred = flat - flat.mean(0)
    want = np.linalg.svd(centred, compute_uv=False)[:2]
    points = principal_plane(z).flatten(0, 1).double().numpy()
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), want, rtol=1e-5)


def test_partial_participation_leaves_the_private_slots_of_others_alone():
    simulation = Simulation(toy_experiment(**(MIXED | DFL | {"ranks": [2, 4, 3, 2], "participation": 0.5})))
    before = {name: tensor.clone() for name, tensor in remembered(simulation, "sharing").items()}
    simulation.next_round()
    here = participants(4, 0.5, 0, 1)
    for name, tensor in remembered(simulation, "sharing").items():
        assert [k for k in range(4) if not torch.equal(tensor[k], before[name][k])] == here

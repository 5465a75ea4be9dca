"""CO-PFL: weights by contribution against dense formulas, slots that never leave their client, moments of two kinds."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.diagnostics import movements
from ilora.lora.factors import Stack
from ilora.simulation.round_loop import Simulation
from ilora.stages.client_contribution import Contribution, at_most, novelty, others
from ilora.stages.context import ClientView
from ilora.stages.personal_slots import MEMORY, kept_moments
from tests.laws import compare, next_view, remembered
from tests.toy import LAYERS, dense, draw_clients, draw_weights, small_tasks, toy_experiment, updates


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


def rounds_of(count=3, **changes):
    simulation = Simulation(toy_experiment(**{"method": "co-pfl", "ranks": [1, 3, 8], "rounds": 9} | changes))
    return simulation, [simulation.next_round() for _ in range(count)]


# Contribution -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [[2, 2, 2], [1, 3, 8, 2]], ids=str)
def test_the_novelty_of_a_movement_is_the_dense_one(ranks):
    p, stacks, flat = draw_weights(len(ranks)), [], [np.zeros(0)] * len(ranks)
    for d_out, d_in in LAYERS.values():
        start, trained = draw_clients(ranks, d_out, d_in, 1), draw_clients(ranks, d_out, d_in, 2)
        stacks.append(movements(Stack.of(start), Stack.of(trained), torch.ones(len(ranks))))
        delta = [(dense(b) - dense(a)).ravel() for a, b in zip(start, trained, strict=True)]
        flat = [np.concatenate(pair) for pair in zip(flat, delta, strict=True)]
    for n, got in enumerate(novelty(stacks, others(torch.tensor(p)))):
        rest = sum(p[j] * flat[j] for j in range(len(ranks)) if j != n)
        cosine = flat[n] @ rest / np.linalg.norm(flat[n]) / np.linalg.norm(rest)
        assert float(got) == pytest.approx(1 - cosine, abs=1e-6)


@pytest.mark.parametrize("initialise", ["random", "qr"])
def test_the_model_of_the_others_is_their_dense_merge(initialise, monkeypatch):
    asked, answered, plain_ask, plain_losses = [], [], Contribution.ask, ClientView.sample_losses

    def ask(self, server):
        question = plain_ask(self, server)
        asked.append((server, question, server.before[1]))
        return question

    def sample_losses(self, parameters, samples, base):
        answered.append((parameters, base))
        return plain_losses(self, parameters, samples, base)

    monkeypatch.setattr(Contribution, "ask", ask)
    monkeypatch.setattr(ClientView, "sample_losses", sample_losses)
    rounds_of(5, options={"initialise": initialise, "refresh": 2})
    assert len(asked) == len(answered) == 5
    for (server, question, own), (parameters, base) in zip(asked, answered, strict=True):
        p = server.share.double().numpy()
        for n in range(3):
            rest = [j for j in range(3) if j != n]
            for layer in LAYERS:
                merged = sum(p[j] * shared_change(server, layer, j) for j in rest) / p[rest].sum()
                kept = dense(own.offsets[layer][0]) if layer in own.offsets else 0.0
                np.testing.assert_allclose(kept - dense(base.offsets[layer][n]), merged, atol=1e-5)
            head = sum(p[j] * server.sent["head.classifier.weight"][j].numpy() for j in rest) / p[rest].sum()
            np.testing.assert_allclose(parameters["head.classifier.weight"][n], head, atol=1e-6)
            assert torch.equal(parameters["query.A"][n], question["query.A"][n])


def shared_change(server, layer, j):
    """What client j changed in the slots that it sends, dense in float64."""
    there = server.shared.send_A[layer][j]
    after, before = ((m[f"{layer}.A"][j][there], m[f"{layer}.B"][j][:, there]) for m in (server.sent, server.start))
    return dense(after) - dense(before)


def test_a_noisy_client_is_taken_for_the_greatest_contributor_unless_its_weight_is_bounded():
    """The failure mode: what the others cannot predict may be rare data, or wrong labels."""
    run = {"ranks": [2, 2, 2, 2], "skew": "iid", "noisy_clients": 1, "local_steps": 8, "lr": 2e-2}
    last = {}
    for name, options in {"data": {"mu": 0.0}, "clipped": {"mu": 0.0, "clip": 1.1}}.items():
        simulation, rounds = rounds_of(6, options=options, **run)
        (noisy,) = simulation.facts.noisy
        last[name] = rounds[-1].clients["weight"]
    assert last["data"][noisy] > 0.27 > 0.25
    assert last["data"].argmax() == noisy
    assert last["clipped"].max() <= 1.1 / 4 + 1e-6


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=9), st.floats(1, 5))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_bound_holds_and_weights_still_sum_to_1(numbers, clip):
    weights = torch.tensor(numbers, dtype=torch.float64)
    weights /= weights.sum()
    bounded = at_most(weights, clip / len(weights))
    assert float(bounded.sum()) == pytest.approx(1)
    assert float(bounded.max()) <= clip / len(weights) + 1e-9
    assert (bounded.argsort(stable=True).diff().abs() >= 0).all()
    if weights.max() <= clip / len(weights):
        assert torch.equal(bounded, weights)


def test_a_client_alone_has_no_others_and_all_the_weight():
    _, rounds = rounds_of(2, ranks=[4])
    assert rounds[-1].clients["weight"].tolist() == [1.0]


# Personal slots ---------------------------------------------------------------------------------------------------------------


def test_slots_become_personal_by_the_rule_up_to_their_limit():
    """A quarter of the shared slots, rounded up, every third round; at most 80 % of a client's slots, in each of 2 layers."""
    _, rounds = rounds_of(9)
    assert [record.clients["personal_slots"].tolist() for record in rounds] == [[0, 0, 0]] * 3 + [[0, 2, 4]] * 3 + [[0, 4, 8]] * 3
    _, rounds = rounds_of(9, options={"refresh": 1, "fraction": 1.0})
    assert rounds[-1].clients["personal_slots"].tolist() == [0, 4, 12]


def test_a_personal_slot_stays_with_its_client_and_the_server_never_hears_of_it():
    simulation, _ = rounds_of(3)
    personal = remembered(simulation, "sharing")["personal/query"].clone()
    assert personal[1].sum() == 1
    left, server = (
        remembered(simulation, "sharing")["query.A"][personal].clone(),
        simulation.server.layers["query"].own(4).factors.A,
    )
    record = simulation.next_round()
    np.testing.assert_array_equal(record.factors["query/start/A"][personal.numpy()], left)
    nobody = personal[2] & (torch.arange(8) >= 3)  # only client 3 has these slots
    np.testing.assert_array_equal(record.factors["query/server/A"][nobody.numpy()], server[nobody])
    assert nobody.any()


def test_the_bytes_are_a_hand_count_with_the_mask_and_the_model_of_the_others():
    _, rounds = rounds_of(4)
    widths, head = sum(map(sum, LAYERS.values())), 14 * 4 + 4
    slots = (1 + 3 + 8) * 2 - 6  # of both layers, without the personal ones
    assert rounds[0].floats_up == 12 * widths + 3 * head + 3  # each client tells its loss under the others' model
    assert rounds[3].bytes_up == 4 * rounds[3].floats_up + 2 * 3  # a byte for each client's mask in each layer
    assert slots * min(map(sum, LAYERS.values())) < rounds[3].floats_up - 3 * head - 3 < slots * max(map(sum, LAYERS.values()))
    assert rounds[3].floats_down == 2 * (rounds[3].floats_up - 3)
    alone = rounds_of(1, options={"mu": 1.0})[1][0]
    assert alone.floats_down == alone.floats_up
    assert rounds[0].forwards == alone.forwards + sum(min(64, n) for n in rounds[0].clients["samples"])


# Split moments ----------------------------------------------------------------------------------------------------------------


def test_the_personal_part_moves_in_the_first_half_and_the_shared_one_in_the_second(monkeypatch):
    simulation, _ = rounds_of(3, local_steps=4)
    personal, pieces, plain = remembered(simulation, "sharing")["personal/query"], [], simulation.engine.train

    def train(work, on_step):
        done = plain(work, on_step)
        pieces.append((work, done))
        return done

    monkeypatch.setattr(simulation.engine, "train", train)
    simulation.next_round()
    (alone, _), (first, one), (second, two) = pieces
    assert [work.batches.shape[:2] for work, _ in pieces] == [(1, 4), (2, 2), (2, 2)]
    assert alone.base.ranks == (1,)
    moved = (one.parameters["query.A"] != first.start["query.A"]).any(2)
    then = (two.parameters["query.A"] != second.start["query.A"]).any(2)
    np.testing.assert_array_equal(moved, personal[1:])
    assert not (then & personal[1:]).any()
    assert then[:, 0].any() or then[:, 1].any()
    assert torch.equal(one.parameters["head.classifier.weight"], first.start["head.classifier.weight"])


def test_kept_moments_are_those_of_the_last_visit_without_their_bias():
    simulation, _ = rounds_of(1, local_steps=1, lr=0.0, ranks=[2, 3], options={"weighting": "samples"})
    memory = remembered(simulation, "correction")
    everywhere = {name: torch.ones_like(tensor) for name, tensor in next_view(simulation)[1].start.items()}
    m, v = kept_moments(memory, [0, 1], everywhere)
    for name in everywhere:
        kept = memory[f"m/{name}"]  # after one step m^ = g and v^ = g^2
        torch.testing.assert_close(m[name] / (1 - 0.9**MEMORY), kept)
        torch.testing.assert_close(v[name] / (1 - 0.999**MEMORY), kept.square(), atol=1e-9, rtol=1e-3)
    assert memory["m/query.B"].abs().max() > 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_engines_agree(optimizer):
    options = {"refresh": 1}
    compare(toy_experiment(method="co-pfl", options=options, optimizer=optimizer, ranks=[1, 3, 8], local_steps=2), rounds=3)


# FedHL's weights --------------------------------------------------------------------------------------------------------------


def test_weights_by_inverse_truncation_are_the_dense_ones():
    experiment = toy_experiment(method="fedhl", options={"weighting": "inverse-truncation", "floor": 0.3}, ranks=[1, 3, 8])
    simulation = Simulation(experiment)
    assert simulation.next_round().clients["weight"] == pytest.approx([1 / 3] * 3)
    G = updates(simulation)
    record = simulation.next_round()
    errors = []
    for k in range(3):
        starts = {layer: [record.factors[f"{layer}/start/{x}"][k].astype(float) for x in "AB"] for layer in LAYERS}
        errors.append(sum(np.linalg.norm(G[layer] - B @ A) ** 2 for layer, (A, B) in starts.items()))
    wanted = 1 / (np.array(errors) / sum(np.linalg.norm(G[layer]) ** 2 for layer in LAYERS) + 0.3)
    np.testing.assert_allclose(record.clients["weight"], wanted / wanted.sum(), rtol=1e-4)
    assert record.clients["weight"].argmax() == 2

"""Learning from rewards: the identities of GRPO and AER, what the router learns, and that no ranking ever holds them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.methods import METHODS
from ilora.methods.recipes.reward_learning import NOT_COVERED
from ilora.simulation.round_loop import Simulation
from ilora.stages import policy_gradient, reward_mixture
from tests.laws import compare, next_view
from tests.toy import LAYERS, length, small_tasks, toy_experiment, updates

some = settings(max_examples=60, deadline=None, derandomize=True)
numbers = st.lists(st.floats(-5, 5), min_size=2, max_size=9)


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# GRPO and AER -----------------------------------------------------------------------------------------------------------------


@given(numbers)
@some
def test_advantages_sum_to_0_and_are_0_where_all_rewards_are_alike(values):
    found = policy_gradient.advantages(torch.tensor(values, dtype=torch.float64))
    assert float(found.sum()) == pytest.approx(0, abs=1e-6)
    assert not policy_gradient.advantages(torch.full((8,), values[0], dtype=torch.float64)).abs().max() > 1e-9


@given(numbers, st.integers(1, 20))
@some
def test_entropy_divergence_and_pass_at_k_are_the_exact_sums(values, k):
    logits = torch.tensor(values, dtype=torch.float64)
    p, q = logits.softmax(0).numpy(), draw(len(values)).softmax(0).numpy()
    assert float(policy_gradient.entropy(logits)) == pytest.approx(-(p * np.log(p)).sum())
    assert float(policy_gradient.divergence(logits, torch.tensor(q).log())) == pytest.approx((p * np.log(p / q)).sum(), abs=1e-9)
    assert float(policy_gradient.divergence(logits, logits)) == 0
    assert float(policy_gradient.pass_at(k, logits, torch.tensor(0))) == pytest.approx(1 - (1 - p[0]) ** k)


def test_answers_are_drawn_as_often_as_the_policy_says():
    logits = draw(5)
    uniforms = torch.rand(40_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    often = torch.bincount(policy_gradient.draw_answers(logits, uniforms), minlength=5) / 40_000
    torch.testing.assert_close(often.double(), logits.softmax(0), atol=0.01, rtol=0)


@pytest.mark.parametrize("rho", [0.5, 1.0])
def test_the_bonus_never_rises_with_the_share_of_right_answers_and_ends_at_rho(rho):
    shares = torch.linspace(0, 1, 9)
    found = policy_gradient.difficulty_bonus(torch.tensor(2.0), shares, rho)
    assert (found.diff() <= 0).all()
    assert found[0] == 2
    assert (found[shares >= rho] == 0).all()


@given(st.lists(st.floats(0, 5), min_size=1, max_size=30), st.floats(0, 10), st.floats(0, 3))
@some
def test_alpha_never_leaves_its_range_and_moves_towards_the_target(measured, eta, target):
    alpha, goal = torch.tensor(0.0), torch.tensor(target)
    for H in measured:
        new = policy_gradient.next_alpha(alpha, torch.tensor(H), goal, eta, 2.0)
        assert 0 <= new <= 2
        assert (new - alpha) * (target - H) >= 0
        alpha = new


def test_the_gradient_is_the_policy_gradient_of_the_expected_reward():
    """With many answers to a prompt, -grad F goes along the gradient of sum_y pi(y) R(y)."""
    logits, R = draw(4).requires_grad_(), torch.tensor([1.0, 0.0, 0.2, 0.5], dtype=torch.float64)
    (exact,) = torch.autograd.grad((logits.softmax(0) * R).sum(), logits)
    uniforms = torch.rand(100_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    answers = policy_gradient.draw_answers(logits.detach(), uniforms)
    (found,) = torch.autograd.grad((policy_gradient.advantages(R[answers]) * logits.log_softmax(0)[answers]).mean(), logits)
    assert float(found @ exact / found.norm() / exact.norm()) > 0.999


def rounds_of(count, **changes):
    simulation = Simulation(toy_experiment(**{"ranks": [1, 3, 8], "rounds": 20, "lr": 2e-2} | changes))
    return simulation, [simulation.next_round() for _ in range(count)]


def test_the_thermostat_opens_below_its_target_and_closes_above_it():
    _, rounds = rounds_of(10, method="aer", options={"tau": 1.0, "eta": 1.0})
    p = rounds[0].clients["samples"] / rounds[0].clients["samples"].sum()
    H, alpha = (np.array([p @ record.clients[name] for record in rounds]) for name in ("entropy", "alpha"))
    target = rounds[0].clients["entropy_target"][0]
    assert H[0] == pytest.approx(target, abs=1e-5)
    np.testing.assert_allclose(alpha[1:], np.clip(alpha[:-1] + (target - H[:-1]), 0, 5), atol=1e-5)
    assert alpha[-1] > 0.01


def test_a_price_on_certainty_keeps_the_entropy_up_and_reward_alone_lets_it_fall():
    ends = {}
    for bonus in ("none", "fixed"):
        _, rounds = rounds_of(8, method="aer", options={"bonus": bonus, "coefficient": 2.0}, skew="iid", local_steps=10)
        ends[bonus] = rounds[-1].clients["entropy"].mean(), rounds[0].clients["entropy"].mean()
    assert ends["none"][0] < ends["none"][1] - 0.05
    assert ends["fixed"][0] > ends["none"][0] + 0.05


def test_the_groups_of_a_round_count_every_prompt_once():
    _, (record,) = rounds_of(1, method="aer")
    assert record.clients["group_correct"].shape == (3, 9)
    np.testing.assert_array_equal(record.clients["group_correct"].sum(1), record.clients["samples"])


# MoR --------------------------------------------------------------------------------------------------------------------------


def test_a_reward_head_prefers_the_right_answer_and_has_no_more_than_its_rank():
    features = draw(200, 6).float()
    labels = (features @ draw(6, 4, seed=3).float()).argmax(1)
    V, W = reward_mixture.fit_reward(features, labels, 4, 2, torch.Generator().manual_seed(0))
    assert (V.shape, W.shape) == ((4, 2), (2, 6))
    assert ((features @ W.T @ V.T).argmax(1) == labels).float().mean() > 0.6


def test_a_router_of_zeros_trusts_everyone_alike_and_a_learned_one_whom_it_should():
    features = draw(300, 5).float()
    labels = (features[:, 0] > 0).long() + 2 * (features[:, 1] > 0).long()
    right = torch.nn.functional.one_hot(labels, 4).float()
    left = (features[:, 2] < 0).float()[:, None]
    scores = reward_mixture.standardised(torch.stack([right * left - right * (1 - left), right * (1 - left) - right * left]))
    torch.testing.assert_close(reward_mixture.trust(torch.zeros(2, 6), features), torch.full((300, 2), 0.5))
    router = reward_mixture.fit_router(features[:100], scores[:, :100], labels[:100], torch.Generator().manual_seed(0))
    trusted = reward_mixture.trust(router, features)[100:, 0] > 0.5
    assert (trusted == (left[100:, 0] > 0)).float().mean() > 0.9


def test_fusing_is_the_weighted_sum_of_rewards():
    weights, scores = draw(7, 3).softmax(1), draw(3, 7, 4, seed=1)
    R = reward_mixture.fused(weights, scores)
    for m in range(7):
        torch.testing.assert_close(R[m], sum(weights[m, n] * scores[n, m] for n in range(3)))


def test_prompts_are_given_away_and_never_used_for_a_reward_head():
    own = torch.arange(40, 90)
    kept, given_away = reward_mixture.separate(0, 3, own, 0.2)
    assert len(given_away) == 10
    assert sorted([*kept.tolist(), *given_away.tolist()]) == own.tolist()
    assert [len(part) for part in reward_mixture.separate(0, 3, own[:1], 0.2)] == [1, 0]


def test_reward_heads_go_up_once_in_their_own_rank_and_nothing_comes_down():
    _, rounds = rounds_of(3, method="mor")
    assert [record.floats_up for record in rounds] == [(1 + 3 + 8) * (14 + 4), 0, 0]
    assert {record.floats_down for record in rounds} == {0}


def test_the_policy_is_one_for_all_and_learns():
    simulation, rounds = rounds_of(6, method="mor", options={"reward": "oracle"}, skew="iid", local_steps=8)
    assert all(record.aggregation_error < 1e-5 for record in rounds)
    assert rounds[-1].clients["pass_1"].mean() > rounds[0].clients["pass_1"].mean() + 0.03
    assert all(length(G) > 0 for G in updates(simulation).values())
    assert np.isnan(rounds[0].clients["trust_map"]).any()
    trust = rounds[-1].clients["trust"]
    assert trust.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("reward", ["router", "uniform", "single"])
def test_no_label_of_a_prompt_that_is_no_anchor_reaches_the_policy(reward):
    """Other labels on the prompts leave the policy as it is, except through the router's anchors."""
    ends = []
    for shuffle in (False, True):
        simulation = Simulation(toy_experiment(method="mor", options={"reward": reward, "anchors": 5}, ranks=[2, 3], lr=2e-2))
        side, view = next_view(simulation)
        prompts = torch.cat([reward_mixture.separate(0, k, side.samples[k], 0.2)[1] for k in view.ids]).sort().values
        if shuffle:
            order = torch.randperm(len(prompts), generator=reward_mixture.torch_generator(0, "anchors", 2))
            hidden = prompts[order[5:]] if reward == "router" else prompts
            simulation.client_data.train.labels[hidden] = (simulation.client_data.train.labels[hidden] + 1) % 4
        try:
            simulation.next_round()
        finally:
            if shuffle:
                simulation.client_data.train.labels[hidden] = (simulation.client_data.train.labels[hidden] - 1) % 4
        ends.append(updates(simulation))
    for layer in LAYERS:
        np.testing.assert_array_equal(ends[0][layer], ends[1][layer])
        assert length(ends[0][layer]) > 0


def test_the_map_of_trust_is_a_mean_in_each_cell():
    points, weights = torch.tensor([[0.1, 0.1], [0.2, 0.2], [0.9, 0.6]]), torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]])
    found = reward_mixture.on_grid(points, weights, 2)
    assert found.shape == (2, 2, 2)
    assert found[:, 0, 0].tolist() == [0.75, 0.25]
    assert found[:, 1, 1].tolist() == pytest.approx([0.2, 0.8])
    assert torch.isnan(found[:, 0, 1]).all()


# Both -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"bonus": "controller", "kl": 0.1}], ids=str)
def test_both_engines_agree_on_aer(options):
    compare(toy_experiment(method="aer", options=options, optimizer="sgd", ranks=[1, 3, 8]))


def test_both_engines_agree_on_mor():
    compare(toy_experiment(method="mor", optimizer="sgd", ranks=[1, 3, 8], participation=0.7))


def test_methods_that_learn_from_rewards_are_marked_and_say_what_they_leave_out():
    marked = {key for key, method in METHODS.items() if method.learns_from_reward}
    assert marked == {"aer", "mor"} == set(NOT_COVERED)
    assert all(NOT_COVERED.values())

"""The draws of a round depend on seed, round and client, and on nothing else."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.clients.sampling import batch_plan, fresh_head, gradient_weights, participants, steps_of

some = settings(max_examples=60, deadline=None, derandomize=True)


@given(st.integers(1, 300), st.floats(0.001, 1), st.integers(0, 99), st.integers(1, 9))
@some
def test_participants_are_distinct_sorted_and_the_fraction_asked_for(clients, participation, seed, index):
    ids = participants(clients, participation, seed, index)
    assert ids == sorted(set(ids))
    assert set(ids) <= set(range(clients))
    assert len(ids) == max(1, round(participation * clients))
    assert ids == participants(clients, participation, seed, index)


def test_over_many_rounds_everyone_takes_part_equally_often():
    counts = np.bincount(np.concatenate([participants(10, 0.3, 0, t) for t in range(1000)]), minlength=10)
    assert np.abs(counts - 300).max() < 60


@given(st.integers(1, 40), st.integers(0, 12), st.integers(1, 17), st.integers(0, 99))
@some
def test_batches_are_shuffled_passes_over_the_clients_own_samples(samples, steps, batch, seed):
    share = np.arange(100, 100 + samples)
    plan = batch_plan(share, steps, batch, np.random.default_rng(seed))
    assert plan.shape == (steps, batch)
    stream = plan.flatten()
    for first in range(0, len(stream) - samples + 1, samples):
        assert sorted(stream[first : first + samples].tolist()) == share.tolist()
    tail = stream[len(stream) // samples * samples :]
    assert len(set(tail.tolist())) == len(tail)
    assert set(stream.tolist()) <= set(share.tolist())


@pytest.mark.parametrize(("samples", "batch"), [(1, 16), (16, 16), (17, 16), (40, 16), (5, 1)])
def test_the_two_scales_of_the_control_variate_are_those_of_methods_5_6(samples, batch):
    gradients = torch.tensor(np.random.default_rng(samples).normal(size=samples), dtype=torch.float32)
    batches = gradients.split(batch)
    scaffold = (gradient_weights(samples, batch, "scaffold") * gradients).sum()
    official = (gradient_weights(samples, batch, "official") * gradients).sum()
    torch.testing.assert_close(scaffold, gradients.mean())
    torch.testing.assert_close(official, sum(b.mean() for b in batches) / samples)
    if samples % batch == 0:
        torch.testing.assert_close(official, scaffold / batch)


def test_a_fresh_head_is_the_same_for_the_same_seed_small_and_without_bias():
    shapes = {"w": torch.zeros(50, 40), "b": torch.zeros(50)}
    head = fresh_head(shapes, 0)
    assert torch.equal(head["w"], fresh_head(shapes, 0)["w"])
    assert not torch.equal(head["w"], fresh_head(shapes, 1)["w"])
    assert head["w"].std() == pytest.approx(0.02, rel=0.1)
    assert not head["b"].any()


def test_an_epoch_is_as_many_steps_as_a_client_needs_to_see_all_its_samples():
    assert [steps_of(n, 16, 10, 1) for n in (1, 16, 17, 48)] == [1, 1, 2, 3]
    assert steps_of(17, 16, 10, 3) == 4
    assert steps_of(17, 16, 10, None) == 10
    share = np.arange(17)
    assert set(batch_plan(share, 2, 16, np.random.default_rng(0)).ravel()) == set(share)


def test_clients_that_are_left_out_never_take_part_and_change_nothing_for_nobody():
    for t in range(50):
        assert not {1, 3} & set(participants(6, 0.5, 0, t, (1, 3)))
        assert participants(6, 0.5, 0, t, ()) == participants(6, 0.5, 0, t)
    assert participants(3, 1.0, 0, 1, (0,)) == [1, 2]
    assert len(participants(6, 0.01, 0, 1, (1, 2))) == 1

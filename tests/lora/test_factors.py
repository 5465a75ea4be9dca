"""Factors of mixed ranks in one padded stack: padding changes no product, and every client gets its own back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.lora.factors import Factors, Stack
from tests.toy import dense, draw_clients, draw_weights

RANKS = st.lists(st.integers(1, 9), min_size=1, max_size=6)
some = settings(max_examples=40, deadline=None, derandomize=True)


@given(RANKS, st.integers(0, 4))
@some
def test_a_stack_gives_every_client_its_own_factors_back(ranks, spare):
    clients = draw_clients(ranks, 7, 5)
    stack = Stack.of(clients, max(ranks) + spare)
    assert stack.ranks == tuple(ranks)
    assert stack.A.shape == (len(ranks), max(ranks) + spare, 5)
    for k, (A, B) in enumerate(clients):
        assert torch.equal(stack[k].A, A)
        assert torch.equal(stack[k].B, B)
        assert not stack.A[k, ranks[k] :].any()
        assert not stack.B[k, :, ranks[k] :].any()
        assert stack.mask[k].tolist() == [1.0] * ranks[k] + [0.0] * (max(ranks) + spare - ranks[k])


@given(RANKS)
@some
def test_concatenation_is_the_weighted_sum_of_products_with_rho_slots(ranks):
    clients, p = draw_clients(ranks, 7, 5), draw_weights(len(ranks))
    stacked = Stack.of(clients, 12).concatenate(torch.tensor(p))
    assert stacked.rank == sum(ranks)
    np.testing.assert_allclose(dense(stacked), sum(w * dense(pair) for w, pair in zip(p, clients, strict=True)), atol=1e-12)


def test_padding_and_scaling_act_on_the_product_as_they_should():
    (pair,) = draw_clients([3], 7, 5)
    X = Factors(*pair)
    np.testing.assert_allclose(dense(X.pad(6)), dense(X))
    np.testing.assert_allclose(dense(X.times(-2.5)), -2.5 * dense(X))
    np.testing.assert_allclose(dense(X.truncate(2)), dense((pair[0][:2], pair[1][:, :2])))
    assert X.pad(6).rank == 6
    assert X.pad(2).rank == 3
    scaled = Stack.of([pair, pair]).scale([2.0, 0.5])
    np.testing.assert_allclose(dense(scaled[1]), 0.5 * dense(X))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_stack_keeps_the_precision(dtype):
    stack = Stack.of(draw_clients([1, 3], 4, 4, dtype=dtype), 4)
    assert (stack.A.dtype, stack.B.dtype, stack.mask.dtype) == (dtype, dtype, dtype)

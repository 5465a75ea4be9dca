"""Product-space distances and linear terms against dense float64 formulas and their autograd gradients."""

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.lora.factors import Stack
from ilora.stages.objectives import Movement, inner, movement
from ilora.training.client_model import Base, Parameters

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(0, 99))


def draw(d_out: int, d_in: int, ranks: list[int], seed: int) -> tuple[Parameters, Parameters, Base]:
    """Two models of the same clients, zeros in the slots that they lack."""
    random, R = torch.Generator().manual_seed(seed), max(ranks)
    mask = (torch.arange(R)[None] < torch.tensor(ranks)[:, None]).double()

    def model() -> Parameters:
        A = torch.randn(len(ranks), R, d_in, generator=random, dtype=torch.float64) * mask[:, :, None]
        B = torch.randn(len(ranks), d_out, R, generator=random, dtype=torch.float64) * mask[:, None, :]
        return {"q.A": A, "q.B": B, "head.w": torch.randn(len(ranks), 3, generator=random, dtype=torch.float64)}

    return model(), model(), Base(tuple(ranks), torch.linspace(0.5, 2, len(ranks), dtype=torch.float64))


def products(parameters: Parameters, base: Base) -> torch.Tensor:
    return base.scales[:, None, None] * parameters["q.B"] @ parameters["q.A"]


def gradients(loss: Any, parameters: Parameters) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss.sum(), list(parameters.values()), retain_graph=True, allow_unused=True))


@settings(deadline=None, max_examples=40)
@given(SHAPES)
def test_distance_and_linear_term_are_the_dense_ones_with_their_gradients(shape):
    start, now, base = draw(*shape)
    now = {name: tensor.requires_grad_() for name, tensor in now.items()}
    other, _, _ = draw(shape[0], shape[1], shape[2], shape[3] + 100)
    dual: Movement = {"q": Stack(other["q.A"], other["q.B"], base.ranks), "head.w": other["head.w"]}
    moved = movement(start, now, base, "product", torch.float64)
    D, h = products(now, base) - products(start, base), now["head.w"] - start["head.w"]
    for low_rank, dense in (
        (inner(moved, moved), D.square().sum((1, 2)) + h.square().sum(1)),
        (inner(dual, moved), (other["q.B"] @ other["q.A"] * D).sum((1, 2)) + (other["head.w"] * h).sum(1)),
    ):
        torch.testing.assert_close(low_rank, dense)
        for one, expected in zip(gradients(low_rank, now), gradients(dense, now), strict=True):
            torch.testing.assert_close(one, expected)


@settings(deadline=None, max_examples=20)
@given(SHAPES)
def test_factor_space_counts_numbers_and_nobody_who_stood_still_has_moved(shape):
    start, now, base = draw(*shape)
    moved = movement(start, now, base, "factor", torch.float64)
    want = sum((now[n] - start[n]).flatten(1).square().sum(1) for n in start)
    torch.testing.assert_close(inner(moved, moved), want)
    for space in ("product", "factor"):
        still = movement(start, start, base, space)
        assert not inner(still, still).any()

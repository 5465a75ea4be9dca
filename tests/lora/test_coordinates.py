"""A gradient that is carried to other factors is what the loss would give there, as far as the old factors can tell."""

import pytest
import torch

from ilora.lora.coordinates import Pair, pseudo_inverse, transported

FORMS = ("plain", "tangent")


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients(G: torch.Tensor, pair: Pair) -> Pair:
    """g_A = B^T G and g_B = G A^T."""
    return Pair(pair.B.mT @ G, G @ pair.A.mT)


def close(one: Pair, other: Pair, tolerance: float = 1e-9) -> None:
    for x, y in zip(one, other, strict=True):
        torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_turned_slots_turn_the_gradients_with_them(form: str) -> None:
    old, M = Pair(draw(3, 9), draw(7, 3, seed=1)), draw(3, 3, seed=2)
    new = Pair(torch.linalg.solve(M, old.A), old.B @ M)
    g = gradients(draw(7, 9, seed=3), old)
    close(transported(g, old, new, form), Pair(M.mT @ g.A, torch.linalg.solve(M, g.B.mT).mT))


@pytest.mark.parametrize("form", FORMS)
def test_factors_that_stay_leave_the_gradients_alone(form: str) -> None:
    pair = Pair(draw(3, 9), draw(7, 3, seed=1))
    g = gradients(draw(7, 9, seed=2), pair)
    close(transported(g, pair, pair, form), g)


def test_the_tangent_form_is_the_projection_on_the_tangent_space() -> None:
    old, new, G = Pair(draw(3, 9), draw(7, 3, seed=1)), Pair(draw(3, 9, seed=2), draw(7, 3, seed=3)), draw(7, 9, seed=4)
    P_B, P_A = old.B @ pseudo_inverse(old.B), pseudo_inverse(old.A.mT).mT @ old.A
    close(transported(gradients(G, old), old, new, "tangent"), gradients(P_B @ G + G @ P_A - P_B @ G @ P_A, new))
    plain = transported(gradients(G, old), old, new, "plain")
    close(plain, Pair(new.B.mT @ P_B @ G, G @ P_A @ new.A.mT))


def test_full_factors_know_the_whole_gradient() -> None:
    old, new, G = Pair(draw(7, 9), draw(7, 7, seed=1)), Pair(draw(7, 9, seed=2), draw(7, 7, seed=3)), draw(7, 9, seed=4)
    close(transported(gradients(G, old), old, new, "tangent"), gradients(G, new), 1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_empty_slots_and_stacks_change_nothing_for_the_others(form: str) -> None:
    old, new = Pair(draw(2, 3, 9), draw(2, 7, 3, seed=1)), Pair(draw(2, 3, 9, seed=2), draw(2, 7, 3, seed=3))
    for pair in (old, new):
        pair.A[1, 2:], pair.B[1, :, 2:] = 0, 0
    g = gradients(draw(2, 7, 9, seed=4), old)
    both = transported(g, old, new, form)
    one = [Pair(p.A[1, :2], p.B[1, :, :2]) for p in (g, old, new)]
    small = transported(one[0], one[1], one[2], form)
    close(Pair(both.A[1, :2], both.B[1, :, :2]), small)
    assert not both.A[1, 2:].any()
    assert not both.B[1, :, 2:].any()

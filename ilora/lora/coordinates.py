"""Gradients of two factors, carried from the pair (A_o, B_o) at which they were taken to another pair (A_n, B_n).

W = theta_0 + s B A with G = dF/dW has g_A = s B^T G and g_B = s G A^T. An aggregation that factorises anew turns the slots, so
a gradient that is remembered slot by slot points elsewhere afterwards. What the two say of G is its part in the row space of
A_o and the column space of B_o; the rest is lost.
"""

from typing import NamedTuple

import torch
from torch import Tensor

CUT_OFF = 1e-6  # singular values of a Gram matrix below this share of the greatest count as empty slots


class Pair(NamedTuple):
    """A (..., r, d_in) and B (..., d_out, r), or two tensors of these shapes: of one layer, or stacked over clients."""

    A: Tensor
    B: Tensor


def pseudo_inverse(X: Tensor) -> Tensor:
    """X^+ = (X^T X)^+ X^T of (..., d, r) through its Gram matrix, in float64; empty slots stay empty."""
    X = X.double()
    return torch.linalg.pinv(X.mT @ X, rtol=CUT_OFF, hermitian=True) @ X.mT


def transported(gradient: Pair, old: Pair, new: Pair, form: str = "tangent") -> Pair:
    """The gradients g_A (..., r, d_in) and g_B (..., d_out, r) at `old` as they are known at `new`.

    "plain": g_A <- (B_o^+ B_n)^T g_A and g_B <- g_B (A_n A_o^+)^T. "tangent" adds what either says of the other's part:
    B_n^T (I - P_B) g_B (A_o^+)^T and (B_o^+)^T g_A (I - P_A) A_n^T, with P_B = B_o B_o^+ and P_A = A_o^+ A_o. (Ours; for
    (B_n, A_n) = (B_o M, M^-1 A_o) both are M^T g_A and g_B M^-T.)
    """
    g_A, g_B = gradient.A.double(), gradient.B.double()
    (A_o, B_o), (A_n, B_n) = (Pair(*(X.double() for X in pair)) for pair in (old, new))
    B_plus, A_plus = pseudo_inverse(B_o), pseudo_inverse(A_o.mT).mT  # (..., r, d_out), (..., d_in, r)
    moved_A, moved_B = (B_plus @ B_n).mT @ g_A, g_B @ (A_n @ A_plus).mT
    if form == "tangent":
        moved_A = moved_A + (B_n.mT @ g_B - (B_n.mT @ B_o) @ (B_plus @ g_B)) @ A_plus.mT
        moved_B = moved_B + B_plus.mT @ (g_A @ A_n.mT - (g_A @ A_plus) @ (A_o @ A_n.mT))
    return Pair(moved_A.to(gradient.A), moved_B.to(gradient.B))

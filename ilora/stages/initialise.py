"""Stage 1: where do the factors start?

An ingredient maps one frozen weight to the factors of one client: (weight (d_out, d_in), rank, scaling, place) -> Start.
"""

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from ilora.lora.factors import Factors
from ilora.lora.low_rank import signed_qr
from ilora.lora.scaling import Scaling
from ilora.randomness import torch_generator


class Start(NamedTuple):
    """The first factors, and the product, as factors, that is cut out of the frozen base for them (None: nothing is)."""

    factors: Factors
    offset: Factors | None = None


class Place(NamedTuple):
    """What a draw belongs to: its key for the random generator."""

    seed: int
    layer: str
    round: int
    client: int


def random(weight: Tensor, rank: int, scaling: Scaling, place: Place) -> Start:
    """A uniform in +-1/sqrt(d_in) as in peft, one A for all clients, the first rows for smaller ranks; B zero."""
    return Start(_uniform_A(weight, rank, torch_generator(place.seed, "initialise", place.layer)))


def xavier(weight: Tensor, rank: int, scaling: Scaling, place: Place, gain: float = 1.0) -> Start:
    """A uniform in +-gain sqrt(6/d_in), B zero (LoRA-Ensemble, arXiv:2405.14438).

    Xavier's bound is gain sqrt(6/(d_in + r)); without r all ranks start from the same slots.
    """
    start = random(weight, rank, scaling, place)
    return Start(Factors(gain * sqrt(6) * start.factors.A, start.factors.B))


def fresh(weight: Tensor, rank: int, scaling: Scaling, place: Place) -> Start:
    """As `random`, but drawn anew by every client in every round (FLoRA, arXiv:2409.05976)."""
    return Start(_uniform_A(weight, rank, torch_generator(place.seed, "initialise", place.layer, place.round, place.client)))


def _uniform_A(weight: Tensor, rank: int, generator: torch.Generator) -> Factors:
    d_out, d_in = weight.shape
    A = (2 * torch.rand(rank, d_in, generator=generator) - 1) / sqrt(d_in)
    return Factors(A.to(weight), weight.new_zeros(d_out, rank))


def qr_residual(
    weight: Tensor, rank: int, scaling: Scaling, place: Place, rescale: bool = False, residual: str = "scaled"
) -> Start:
    """theta_0 = Q R; B = kappa Q[:, :r], A = kappa R[:r]; base theta_0 - sigma B A (ILoRA, arXiv:2511.16069).

    rescale: kappa such that ||B A||_F = 1e-4 sqrt(d_out d_in) (official code), else kappa = 1 (paper).
    residual: "scaled" cuts out s B A, so that the model stays as it was; "plain" cuts out B A (official code and paper).
    """
    Q, R = signed_qr(weight)
    B, A = Q[:, :rank], R[:rank]
    if rescale:
        tau = 1e-4 * sqrt(weight.numel())
        size = float(torch.linalg.matrix_norm(B @ A))
        kappa = sqrt(tau / size) if size > 0 else 1.0
        B, A = kappa * B, kappa * A
    factors = Factors(A, B)
    return Start(factors, factors.times(scaling(rank) if residual == "scaled" else 1.0))

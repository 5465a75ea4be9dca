"""The factors of one client, and the factors of all clients of a layer as one padded stack."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Factors(NamedTuple):
    """A (r, d_in) and B (d_out, r): the matrix B A without ever forming it."""

    A: Tensor
    B: Tensor

    @property
    def rank(self) -> int:
        """Number of slots r."""
        return self.A.shape[0]

    @classmethod
    def dense(cls, matrix: Tensor) -> "Factors":
        """A matrix (d_out, d_in) as the product of itself and the identity."""
        return cls(torch.eye(matrix.shape[1]).to(matrix), matrix)

    def product(self) -> Tensor:
        """The dense matrix B A, (d_out, d_in)."""
        return self.B @ self.A

    def truncate(self, rank: int) -> "Factors":
        """The first `rank` rows of A and columns of B."""
        return Factors(self.A[:rank], self.B[:, :rank])

    def pad(self, rank: int) -> "Factors":
        """The same product with empty slots behind, up to `rank`."""
        extra = rank - self.rank
        return self if extra <= 0 else Factors(pad_slots(self.A, 0, extra), pad_slots(self.B, 1, extra))

    def times(self, scale: float) -> "Factors":
        """`scale` B A, with the scale on B."""
        return Factors(self.A, self.B * scale)


def pad_slots(tensor: Tensor, dim: int, extra: int) -> Tensor:
    """`tensor` with `extra` zeros behind along `dim`."""
    shape = list(tensor.shape)
    shape[dim] = extra
    return torch.cat([tensor, tensor.new_zeros(shape)], dim)


@dataclass(frozen=True)
class Stack:
    """The factors of K clients with ranks up to R: A (K, R, d_in), B (K, d_out, R), zeros in the slots a client does not have."""

    A: Tensor
    B: Tensor
    ranks: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ranks)

    def __getitem__(self, k: int) -> Factors:
        return Factors(self.A[k], self.B[k]).truncate(self.ranks[k])

    @property
    def mask(self) -> Tensor:
        """(K, R), 1 where client k owns the slot."""
        return slot_mask(self.ranks, self.A.shape[1]).to(self.A)

    def scale(self, factors: Sequence[float]) -> "Stack":
        """Every client's product times its own number, (K,)."""
        return Stack(self.A, self.B * self.B.new_tensor(factors)[:, None, None], self.ranks)

    def cut(self, ranks: Sequence[int]) -> "Stack":
        """The first `ranks` slots of each client, zeros behind."""
        kept = slot_mask(ranks, self.A.shape[1]).to(self.A)
        return Stack(self.A * kept[:, :, None], self.B * kept[:, None, :], tuple(ranks))

    def padded(self, rank: int) -> "Stack":
        """The same clients with empty slots behind, up to `rank`."""
        return Stack.of([self[k] for k in range(len(self))], rank)

    def concatenate(self, weights: Tensor) -> Factors:
        """The weighted sum of all products as one pair of factors: A_c = [p_k A_k], B_c = [B_k], over the slots that exist."""
        owned = self.mask.bool().flatten()
        A = (self.A * weights.to(self.A)[:, None, None]).flatten(0, 1)[owned]
        B = self.B.transpose(0, 1).flatten(1, 2)[:, owned]
        return Factors(A, B)

    @classmethod
    def of(cls, factors: Sequence[Factors | tuple[Tensor, Tensor]], rank: int | None = None) -> "Stack":
        """Stack (A_k, B_k) of any ranks, padded to `rank` or the largest."""
        pairs = [Factors(*pair) for pair in factors]
        ranks = tuple(pair.rank for pair in pairs)
        padded = [pair.pad(rank or max(ranks)) for pair in pairs]
        return cls(torch.stack([pair.A for pair in padded]), torch.stack([pair.B for pair in padded]), ranks)


def slot_mask(ranks: Sequence[int], slots: int) -> Tensor:
    """(K, slots), True where slot j < r_k."""
    return torch.arange(slots)[None, :] < torch.tensor(ranks)[:, None]

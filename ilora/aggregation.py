"""What reaches the server for one layer, what the server makes of it, and the one call that needs no training: `aggregate`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ilora import products
from ilora.adapters import Factors, Stack
from ilora.methods import resolve
from ilora.scaling import Scaling


@dataclass(frozen=True)
class Upload:
    """One layer's uploads of the C clients of a round, and what the server knows beside them."""

    start: Stack  # what the clients had received
    sent: Stack  # what they send back; a factor that is not sent is as it was received
    weights: Tensor  # (C,) p_k, sums to 1
    scaling: Scaling
    rank: int  # the server's rank R
    ideal: Factors  # sum_k n_k/n (s_k B_k A_k - offset_k) over the trained models, exact
    levels: tuple[int, ...]  # the distinct ranks of all clients, ascending
    server: Factors | None = None  # the server's own factors of rank R before this round
    held: Factors | None = None  # its update G before this round, whatever is merged left out
    send_A: Tensor | None = None  # (C, R) booleans, the slots that were sent; None: all that a client has
    send_B: Tensor | None = None
    offset: Stack | None = None  # the products that were cut out of the clients' bases
    server_offset: Factors | None = None  # the same at rank R

    def scales(self) -> Tensor:
        """(C,) s_k."""
        return self.sent.A.new_tensor([self.scaling(rank) for rank in self.sent.ranks])

    def sent_slots(self) -> tuple[Tensor, Tensor]:
        """(C, R) ones where a slot of A, and of B, was sent."""
        mask = self.sent.mask
        return (mask if self.send_A is None else self.send_A.to(mask), mask if self.send_B is None else self.send_B.to(mask))

    def own(self) -> Factors:
        """The server's factors of rank R; zeros where it has none."""
        if self.server is not None:
            return self.server.pad(self.rank)
        return Factors(torch.zeros_like(self.sent.A[0]), torch.zeros_like(self.sent.B[0])).pad(self.rank)

    def stacked(self) -> Factors:
        """sum_k p_k B_k A_k as A_c = [p_k A_k], B_c = [B_k], exact; no scaling, no offset."""
        return self.sent.concatenate(self.weights)

    def learned(self) -> Factors:
        """sum_k p_k (s_k B_k A_k - offset_k), exact."""
        return weighted_update(self.sent, self.weights, self.scaling, self.offset)


def weighted_update(stack: Stack, weights: Tensor, scaling: Scaling, offset: Stack | None) -> Factors:
    """sum_k p_k (s_k B_k A_k - offset_k) as one pair of factors, exact; weights (K,)."""
    scales = stack.A.new_tensor([scaling(rank) for rank in stack.ranks])
    learned = products.compact(stack.concatenate(weights.to(scales) * scales))
    return learned if offset is None else products.difference(learned, offset.concatenate(weights))


@dataclass(frozen=True)
class Aggregate:
    """One layer after aggregation: a bank of slots from which a client of rank r gets the first r.

    `carrier` names the factor that holds the scaling: with "A" or "B" the bank's product is the effective update, and a
    client's share is divided by its own s on that factor; with "" the bank holds raw factors, which s multiplies.
    """

    bank: Factors
    ideal: Factors
    scaling: Scaling
    rank: int
    carrier: str = ""
    offset: Factors | None = None  # still cut out of the base, to be subtracted
    merge: bool = False  # everyone merges the whole bank into the base and starts afresh
    residual: Factors | None = None  # an update that everyone merges into the base beside the bank

    def factors(self, rank: int, slots: int = 0) -> Factors:
        """(A, B) as sent to a client of `rank`: A (r, d_in), B (d_out, r), or the first `slots`; the whole stack if merged."""
        if self.merge:
            return self.bank
        A, B = self.bank.truncate(slots or rank)
        s = self.scaling(rank)
        return Factors(A / s if self.carrier == "A" else A, B / s if self.carrier == "B" else B)

    def untruncated(self) -> Factors:
        """The update that the rule made, before it was cut to the server's rank."""
        product = self.bank if self.carrier else self.bank.times(self.scaling(self.rank))
        terms = [product] if self.offset is None else [product, self.offset.times(-1.0)]
        return products.add(*terms) if self.residual is None else products.add(*terms, self.residual)

    def held(self) -> Factors:
        """The update that the server holds, as factors."""
        cut = self if self.merge else replace(self, bank=self.bank.truncate(self.rank))
        return cut.untruncated()

    def share(self, rank: int, offset: Factors | None) -> Factors:
        """The update that a client of `rank` holds, its own `offset` cut out of its base."""
        own = self.factors(rank).times(self.scaling(rank))
        terms = [own] if offset is None else [own, offset.times(-1.0)]
        return products.add(*terms) if self.residual is None else products.add(*terms, self.residual)

    def update(self) -> Tensor:
        """The update that the server holds, dense (d_out, d_in)."""
        return self.held().product()

    @property
    def error(self) -> float:
        """||update - ideal||_F / ||ideal||_F; 0 where both are zero."""
        return relative(products.norm(products.difference(self.held(), self.ideal)), products.norm(self.ideal))


def relative(distance: float, length: float) -> float:
    """distance / length, 0 for nothing lost of nothing."""
    return distance / length if length > 0 else (0.0 if distance == 0 else float("inf"))


def aggregate(
    method: str,
    factors: Sequence[tuple[Tensor, Tensor]],
    weights: Sequence[float] | Tensor,
    *,
    rank: int | None = None,
    scaling: float | str | None = None,
    offsets: Sequence[tuple[Tensor, Tensor]] | None = None,
    **options: Any,
) -> Aggregate:
    """Aggregate the factors of one layer by a method's rule: no training, no model.

    factors: [(A_k, B_k), ...] with A_k (r_k, d_in), B_k (d_out, r_k); weights (K,) sum to 1; rank: the server's, the largest
    by default; scaling: a number, "alpha/r" or "alpha/sqrt(r)"; offsets: the factors that clients started from where their
    product was cut out of the base (ILoRA); without them the factors are the whole update. ValueError for shapes that do not
    fit and for weights that do not sum to 1.
    """
    recipe = resolve(method, options, scaling)
    trained = _checked("factors", factors)
    p = torch.as_tensor(weights, dtype=trained.A.dtype, device=trained.A.device)
    if p.shape != (len(trained),) or not bool(torch.isfinite(p).all()) or bool((p < 0).any()) or abs(float(p.sum()) - 1) > 1e-4:
        raise ValueError(f"weights are {p.tolist()}; allowed are {len(trained)} numbers from 0 to 1 that sum to 1.")
    server_rank = max(trained.ranks) if rank is None else rank
    if not max(trained.ranks) <= server_rank <= min(trained.B.shape[1], trained.A.shape[2]):
        raise ValueError(
            f"rank is {rank}; allowed is {max(trained.ranks)}, the largest of the clients, up to the layer's dimension."
        )
    start, offset, server_offset = trained, None, None
    if offsets is not None:
        start = _checked("offsets", offsets)
        if start.ranks != trained.ranks:
            raise ValueError(
                f"offsets have ranks {list(start.ranks)}; allowed are the ranks of the factors, {list(trained.ranks)}."
            )
        cut = 1.0 if recipe.options.get("residual") == "plain" else None
        offset = start.scale([cut or recipe.scaling(r) for r in start.ranks])
        server_offset = offset[max(range(len(offset)), key=lambda k: offset.ranks[k])]
    ideal = weighted_update(trained, p, recipe.scaling, offset)
    levels = tuple(sorted(set(trained.ranks)))
    upload = Upload(start, trained, p, recipe.scaling, server_rank, ideal, levels, offset=offset, server_offset=server_offset)
    aggregated: Aggregate = recipe.make("aggregate")(upload)
    return aggregated


def _checked(name: str, factors: Sequence[tuple[Tensor, Tensor]]) -> Stack:
    if not factors:
        raise ValueError(f"{name} is empty; allowed is at least one pair (A, B).")
    d_in, d_out = factors[0][0].shape[-1], factors[0][1].shape[0]
    for k, (A, B) in enumerate(factors):
        if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1] or A.shape[0] == 0 or A.shape[1] != d_in or B.shape[0] != d_out:
            shapes = f"A {tuple(A.shape)}, B {tuple(B.shape)}"
            raise ValueError(
                f"{name}[{k}] has shapes {shapes}; allowed are A (r, {d_in}) and B ({d_out}, r) with one r of 1 or more."
            )
    return Stack.of(factors)

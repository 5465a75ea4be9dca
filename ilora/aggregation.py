"""What reaches the server for one layer, what the server makes of it, and the one call that needs no training: `aggregate`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ilora import products
from ilora.adapters import Factors, Stack
from ilora.clashes import refuse_personalised
from ilora.methods import Recipe, resolve
from ilora.properties import COMMON_FACTOR
from ilora.scaling import Scaling, shown

LEAVE_ONE_ALONE = (*COMMON_FACTOR, "diagonal")  # by sharing: one factor is common and frozen in a round


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
    return products.add(*(term.concatenate(weights) for term in learned_terms(stack, scaling, offset)))


def learned_terms(stack: Stack, scaling: Scaling, offset: Stack | None) -> list[Stack]:
    """s_k B_k A_k - offset_k of every client, slot by slot: stacks whose products add up to it."""
    scaled = stack.scale([scaling(rank) for rank in stack.ranks])
    if offset is None:
        return [scaled]
    # (B - B0) A + B0 (A - A0), which is exactly zero where nobody learned anything
    return [Stack(scaled.A, scaled.B - offset.B, scaled.ranks), Stack(scaled.A - offset.A, offset.B, scaled.ranks)]


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
        """(A, B) as sent to a client of `rank`: A (r, d_in), B (d_out, r), or the first `slots`; the whole stack if merged.

        ValueError for a rank that the server does not have.
        """
        if self.merge:
            return self.bank
        if not 1 <= rank <= self.rank:
            raise ValueError(f"rank is {shown(rank)}; allowed is a whole number from 1 to {self.rank}, the server's.")
        A, B = self.bank.truncate(slots or rank)
        s = self.scaling(rank)
        return Factors(A / s if self.carrier == "A" else A, B / s if self.carrier == "B" else B)

    def untruncated(self) -> Factors:
        """The update that the rule made, before it was cut to the server's rank."""
        product = self.bank if self.carrier else self.bank.times(self.scaling(self.rank))
        return self._over_base(product, self.offset)

    def held(self) -> Factors:
        """The update that the server holds, as factors."""
        cut = self if self.merge else replace(self, bank=self.bank.truncate(self.rank))
        return cut.untruncated()

    def share(self, rank: int, offset: Factors | None) -> Factors:
        """The update that a client of `rank` holds, its own `offset` cut out of its base."""
        own = self.factors(rank).times(self.scaling(rank))
        return self._over_base(own, offset)

    def _over_base(self, product: Factors, offset: Factors | None) -> Factors:
        """A product on its base: what is cut out of the base taken off, what is merged into it added."""
        terms = [product] if offset is None else [product, offset.times(-1.0)]
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
    return distance / length if length > 0 else (0.0 if distance == 0 else distance * float("inf"))


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
    product was cut out of the base (ILoRA); without them the factors are the whole update. Where a method trains one factor in
    a round, the one that all clients have in common, slot by slot, is that of the server. ValueError for shapes that do not fit,
    for weights that do not sum to 1, and for a method that has no global model.
    """
    recipe = resolve(method, options, scaling)
    refuse_personalised(recipe.ingredients)
    trained = _checked("factors", factors)
    p = _checked_weights(weights, trained)
    server_rank = _checked_rank(rank, trained)
    trained = trained.padded(server_rank)
    before = _one_left_alone(recipe, trained) if offsets is None else _cut_out(recipe, trained, offsets)
    upload = Upload(
        sent=trained,
        weights=p,
        scaling=recipe.scaling,
        rank=server_rank,
        ideal=weighted_update(trained, p, recipe.scaling, before.get("offset")),
        levels=tuple(sorted(set(trained.ranks))),
        **before,
    )
    aggregated: Aggregate = recipe.make("aggregate")(upload)
    return aggregated


def _cut_out(recipe: Recipe, trained: Stack, offsets: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """What the server knows where clients started from factors whose product was cut out of their base."""
    start = _checked("offsets", offsets)
    if start.ranks != trained.ranks or start.A.shape[2] != trained.A.shape[2] or start.B.shape[1] != trained.B.shape[1]:
        raise ValueError("offsets have other shapes than the factors; allowed is the pair (A, B) that each client started from.")
    start = start.padded(trained.A.shape[1])
    cut = 1.0 if recipe.options.get("residual") == "plain" else None
    offset = start.scale([cut or recipe.scaling(rank) for rank in start.ranks])
    giant, slots = start.ranks.index(max(start.ranks)), trained.A.shape[1]
    return {"start": start, "server": start[giant].pad(slots), "offset": offset, "server_offset": offset[giant].pad(slots)}


def _one_left_alone(recipe: Recipe, trained: Stack) -> dict[str, Any]:
    """What the server knows where the factors are the whole update: they started from a product of zero, or from one factor.

    Where a method leaves a factor alone, it is the one that is common: the server's, which nobody sends.
    """
    frozen = common_factor(trained) if recipe.ingredients["sharing"] in LEAVE_ONE_ALONE else ""
    start = Stack(trained.A * (frozen != "B"), trained.B * (frozen == "B"), trained.ranks)
    if not frozen:
        return {"start": start}
    sent, nothing = trained.mask.bool(), trained.mask.bool() & False
    slots = {"send_A": nothing, "send_B": sent} if frozen == "A" else {"send_A": sent, "send_B": nothing}
    return {"start": start, "server": start[trained.ranks.index(max(trained.ranks))], **slots}


def common_factor(stack: Stack) -> str:
    """The factor that is the same for all clients in every slot that they share: "A", "B", or "" where neither is."""
    owned, giant = stack.mask.bool(), stack.ranks.index(max(stack.ranks))
    if (stack.A.eq(stack.A[giant]) | ~owned[:, :, None]).all():
        return "A"
    return "B" if (stack.B.eq(stack.B[giant]) | ~owned[:, None, :]).all() else ""


def _checked_rank(rank: int | None, trained: Stack) -> int:
    largest, dimension = max(trained.ranks), min(trained.B.shape[1], trained.A.shape[2])
    server_rank = largest if rank is None else rank
    if not isinstance(server_rank, int) or isinstance(rank, bool) or not largest <= server_rank <= dimension:
        allowed = f"a whole number from {largest}, the largest client's, to {dimension}, the layer's dimension"
        raise ValueError(f"rank is {shown(server_rank)}; allowed is {allowed}.")
    return server_rank


def _checked(name: str, factors: Sequence[tuple[Tensor, Tensor]]) -> Stack:
    """The factors as one stack, in float32 or, where one of them is, in float64."""
    factors = list(factors or ())
    if not factors:
        raise ValueError(f"{name} is empty; allowed is at least one pair (A, B).")
    for k, pair in enumerate(factors):
        if len(pair) != 2 or not all(isinstance(X, Tensor) and not X.is_complex() for X in pair):
            raise ValueError(f"{name}[{k}] is no pair of real tensors; allowed is (A, B), A (r, d_in) and B (d_out, r).")
    dtype = reduce(torch.promote_types, (X.dtype for pair in factors for X in pair), torch.float32)
    factors = [(A.to(dtype), B.to(dtype)) for A, B in factors]
    d_in, d_out = (factors[0][0].shape or (0,))[-1], (factors[0][1].shape or (0,))[0]
    for k, (A, B) in enumerate(factors):
        if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1] or A.shape[0] == 0 or A.shape[1] != d_in or B.shape[0] != d_out:
            allowed = f"A (r, {d_in}) and B ({d_out}, r) with one r of 1 or more"
            raise ValueError(f"{name}[{k}] has shapes A {tuple(A.shape)}, B {tuple(B.shape)}; allowed are {allowed}.")
        if A.shape[0] > min(d_in, d_out):
            raise ValueError(
                f"{name}[{k}] has rank {A.shape[0]}; allowed are ranks up to {min(d_in, d_out)}, the layer's dimension."
            )
        if not (torch.isfinite(A).all() and torch.isfinite(B).all()):
            raise ValueError(f"{name}[{k}] holds NaN or infinity; allowed are finite numbers.")
    return Stack.of(factors)


def _checked_weights(weights: Sequence[float] | Tensor, trained: Stack) -> Tensor:
    allowed = f"allowed are {len(trained)} numbers from 0 to 1 that sum to 1"
    try:
        p = torch.as_tensor(weights, dtype=trained.A.dtype, device=trained.A.device)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"weights are {shown(weights)}; {allowed}.") from None
    if p.shape != (len(trained),) or not bool(torch.isfinite(p).all()) or bool((p < 0).any()) or abs(float(p.sum()) - 1) > 1e-4:
        raise ValueError(f"weights are {shown(p.tolist())}; {allowed}.")
    return p

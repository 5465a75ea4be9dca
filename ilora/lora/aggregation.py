"""What reaches the server for one layer, and what the server makes of it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ilora.checks import FieldError, shown
from ilora.lora import low_rank
from ilora.lora.factors import Factors, Stack
from ilora.lora.scaling import Scaling


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
    server_update: Factors | None = None  # its update G before this round, without what is merged
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
    return low_rank.add(*(term.concatenate(weights) for term in learned_terms(stack, scaling, offset)))


def learned_terms(stack: Stack, scaling: Scaling, offset: Stack | None) -> list[Stack]:
    """s_k B_k A_k - offset_k of every client, slot by slot: stacks whose products add up to it."""
    scaled = stack.scale([scaling(rank) for rank in stack.ranks])
    if offset is None:
        return [scaled]
    # (B - B0) A + B0 (A - A0), which is exactly zero where nobody learned anything
    return [Stack(scaled.A, scaled.B - offset.B, scaled.ranks), Stack(scaled.A - offset.A, offset.B, scaled.ranks)]


@dataclass(frozen=True)
class Aggregate:
    """One layer after aggregation: the server's slots, of which a client of rank r gets the first r.

    `scaled_factor` names the factor that holds the scaling: with "A" or "B" their product is the effective update, and a
    client's share is divided by its own s on that factor; with "" they are raw factors, which s multiplies.
    """

    server_factors: Factors
    ideal: Factors
    scaling: Scaling
    rank: int
    scaled_factor: str = ""
    offset: Factors | None = None  # still cut out of the base, to be subtracted
    merge: bool = False  # everyone merges all of it into the base and starts afresh
    residual: Factors | None = None  # an update that everyone merges into the base besides

    def factors(self, rank: int, slots: int = 0) -> Factors:
        """(A, B) as sent to a client of `rank`: A (r, d_in), B (d_out, r), or the first `slots`; the whole stack if merged.

        FieldError for a rank that the server does not have.
        """
        if self.merge:
            return self.server_factors
        if not 1 <= rank <= self.rank:
            allowed = f"a whole number from 1 to {self.rank}, the server's"
            raise FieldError("rank", rank, allowed, f"rank is {shown(rank)}; allowed is {allowed}.")
        A, B = self.server_factors.truncate(slots or rank)
        s = self.scaling(rank)
        return Factors(A / s if self.scaled_factor == "A" else A, B / s if self.scaled_factor == "B" else B)

    def uncut_update_factors(self) -> Factors:
        """The update that the rule made, before it was cut to the server's rank."""
        product = self.server_factors if self.scaled_factor else self.server_factors.times(self.scaling(self.rank))
        return self._over_base(product, self.offset)

    def update_factors(self) -> Factors:
        """The update that the server holds, as factors."""
        cut = self if self.merge else replace(self, server_factors=self.server_factors.truncate(self.rank))
        return cut.uncut_update_factors()

    def client_update_factors(self, rank: int, offset: Factors | None) -> Factors:
        """The update that a client of `rank` holds, its own `offset` cut out of its base."""
        own = self.factors(rank).times(self.scaling(rank))
        return self._over_base(own, offset)

    def _over_base(self, product: Factors, offset: Factors | None) -> Factors:
        """A product on its base: what is cut out of the base taken off, what is merged into it added."""
        terms = [product] if offset is None else [product, offset.times(-1.0)]
        return low_rank.add(*terms) if self.residual is None else low_rank.add(*terms, self.residual)

    def update(self) -> Tensor:
        """The update that the server holds, dense (d_out, d_in)."""
        return self.update_factors().product()

    @property
    def error(self) -> float:
        """||update - ideal||_F / ||ideal||_F; 0 where both are zero."""
        return relative(low_rank.norm(low_rank.difference(self.update_factors(), self.ideal)), low_rank.norm(self.ideal))


def relative(distance: float, length: float) -> float:
    """distance / length, 0 for nothing lost of nothing."""
    return distance / length if length > 0 else (0.0 if distance == 0 else distance * float("inf"))

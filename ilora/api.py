"""Runs an experiment in this process: round by round, or all at once with a Result at the end."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ilora.checks import FieldError, shown
from ilora.experiment import Experiment
from ilora.lora.aggregation import Aggregate, Upload, weighted_update
from ilora.lora.factors import Stack
from ilora.methods import Recipe, resolve
from ilora.methods.compatibility import refuse_personalised
from ilora.records import Round, brief, main_score, score_text
from ilora.simulation.round_loop import Simulation
from ilora.simulation.server import Snapshot
from ilora.stages.stage import make

if TYPE_CHECKING:
    import pandas as pd

    from ilora.simulation.peft_export import Adapter


IN_NOTEBOOKS = ("aggregation_error", "alignment", "drift")  # what a result shows of a round beside its score
MOST_ROWS = 10


def simulate(experiment: Experiment, snapshot: Snapshot | None = None) -> Iterator[Round]:
    """Train round after round and yield each; from `snapshot`, the rounds that are left."""
    simulation = Simulation(experiment, snapshot)
    while simulation.index < experiment.rounds:
        yield simulation.next_round()


@dataclass(frozen=True, repr=False)
class Result:
    """A finished run: its rounds, their metrics as a table, and the server's adapters."""

    experiment: Experiment
    rounds: list[Round]
    simulation: Simulation

    def __repr__(self) -> str:
        scored = {"score": score_text(self.rounds[-1].metrics())} if self.rounds else {}
        said = {"task": self.experiment.task, "method": self.experiment.method, "rounds": len(self.rounds)}
        return brief("Result", said | scored)

    def _repr_html_(self) -> str:
        history = self.history
        table = history[[main_score(history.columns), *IN_NOTEBOOKS]].tail(MOST_ROWS).to_html(float_format="{:.4f}".format)
        return self.experiment._repr_html_() + table

    @property
    def history(self) -> "pd.DataFrame":
        """One row per round, one column per metric."""
        import pandas as pd

        return pd.DataFrame([round.metrics() for round in self.rounds]).set_index("index")

    def adapter(self, rank: int | None = None) -> "Adapter":
        """What a client of `rank` (the server's by default) receives after the last round, for peft."""
        from ilora.simulation.peft_export import export

        return export(self.simulation, self.simulation.server.rank if rank is None else rank)


def run(experiment: Experiment) -> Result:
    """Train all rounds of an experiment in this process."""
    simulation = Simulation(experiment)
    rounds = [simulation.next_round() for _ in range(experiment.rounds)]
    return Result(experiment, rounds, simulation)


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
    a round, the one that all clients have in common, slot by slot, is that of the server. FieldError for shapes that do not fit,
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
    aggregated: Aggregate = make(recipe, "aggregate")(upload)
    return aggregated


def _cut_out(recipe: Recipe, trained: Stack, offsets: Sequence[tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """What the server knows where clients started from factors whose product was cut out of their base."""
    start = _checked("offsets", offsets)
    if start.ranks != trained.ranks or start.A.shape[2] != trained.A.shape[2] or start.B.shape[1] != trained.B.shape[1]:
        allowed = "the pair (A, B) that each client started from"
        sentence = f"offsets have other shapes than the factors; allowed is {allowed}."
        raise FieldError("offsets", offsets, allowed, sentence)
    start = start.padded(trained.A.shape[1])
    cut = 1.0 if recipe.options.get("residual") == "plain" else None
    offset = start.scale([cut or recipe.scaling(rank) for rank in start.ranks])
    giant, slots = start.ranks.index(max(start.ranks)), trained.A.shape[1]
    return {"start": start, "server": start[giant].pad(slots), "offset": offset, "server_offset": offset[giant].pad(slots)}


def _one_left_alone(recipe: Recipe, trained: Stack) -> dict[str, Any]:
    """What the server knows where the factors are the whole update: they started from a product of zero, or from one factor.

    Where a method leaves a factor alone, it is the one that is common: the server's, which nobody sends.
    """
    frozen = common_factor(trained) if recipe.ingredient("sharing").factor_is_common else ""
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
        raise FieldError("rank", server_rank, allowed, f"rank is {shown(server_rank)}; allowed is {allowed}.")
    return server_rank


def _checked(name: str, factors: Sequence[tuple[Tensor, Tensor]]) -> Stack:
    """The factors as one stack, in float32 or, where one of them is, in float64."""
    factors = list(factors or ())
    if not factors:
        raise FieldError(name, factors, "at least one pair (A, B)", f"{name} is empty; allowed is at least one pair (A, B).")
    for k, pair in enumerate(factors):
        if len(pair) != 2 or not all(isinstance(X, Tensor) and not X.is_complex() for X in pair):
            allowed = "(A, B), A (r, d_in) and B (d_out, r)"
            sentence = f"{name}[{k}] is no pair of real tensors; allowed is {allowed}."
            raise FieldError(f"{name}[{k}]", pair, allowed, sentence)
    dtype = reduce(torch.promote_types, (X.dtype for pair in factors for X in pair), torch.float32)
    factors = [(A.to(dtype), B.to(dtype)) for A, B in factors]
    d_in, d_out = (factors[0][0].shape or (0,))[-1], (factors[0][1].shape or (0,))[0]
    for k, (A, B) in enumerate(factors):
        if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1] or A.shape[0] == 0 or A.shape[1] != d_in or B.shape[0] != d_out:
            allowed = f"A (r, {d_in}) and B ({d_out}, r) with one r of 1 or more"
            sentence = f"{name}[{k}] has shapes A {tuple(A.shape)}, B {tuple(B.shape)}; allowed are {allowed}."
            raise FieldError(f"{name}[{k}]", (A, B), allowed, sentence)
        if A.shape[0] > min(d_in, d_out):
            allowed = f"ranks up to {min(d_in, d_out)}, the layer's dimension"
            raise FieldError(f"{name}[{k}]", (A, B), allowed, f"{name}[{k}] has rank {A.shape[0]}; allowed are {allowed}.")
        if not (torch.isfinite(A).all() and torch.isfinite(B).all()):
            sentence = f"{name}[{k}] holds NaN or infinity; allowed are finite numbers."
            raise FieldError(f"{name}[{k}]", (A, B), "finite numbers", sentence)
    return Stack.of(factors)


def _checked_weights(weights: Sequence[float] | Tensor, trained: Stack) -> Tensor:
    allowed = f"{len(trained)} numbers from 0 to 1 that sum to 1"
    try:
        p = torch.as_tensor(weights, dtype=trained.A.dtype, device=trained.A.device)
    except (TypeError, ValueError, RuntimeError):
        raise FieldError("weights", weights, allowed, f"weights are {shown(weights)}; allowed are {allowed}.") from None
    if p.shape != (len(trained),) or not bool(torch.isfinite(p).all()) or bool((p < 0).any()) or abs(float(p.sum()) - 1) > 1e-4:
        raise FieldError("weights", p.tolist(), allowed, f"weights are {shown(p.tolist())}; allowed are {allowed}.")
    return p

"""Every aggregation rule on the same uploads: what each loses, at the server and at the client of the smallest rank."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ilora import diagnostics
from ilora.api import aggregate
from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate, relative
from ilora.lora.factors import Factors
from ilora.lora.scaling import Scaling
from ilora.methods import METHODS
from ilora.methods.compatibility import restores
from ilora.methods.ingredients import INGREDIENTS
from ilora.records import Array, Round

PLAIN = "fedit"  # the method whose other stages add nothing
CUTS = {"QR": low_rank.qr, "pivoted QR": low_rank.pivoted_qr}


class Outcome(NamedTuple):
    """What a rule lost, as shares of the ideal update's length."""

    rule: str
    server: float  # ||G - ideal|| / ||ideal||
    averaging: float  # before the cut to the server's rank
    truncation: float  # by that cut
    smallest: float  # what the client of the smallest rank holds after the broadcast, against the ideal


class Uploads(NamedTuple):
    """One layer's factors as they reach the server, and what the server needs beside them."""

    factors: list[tuple[Tensor, Tensor]]
    weights: list[float]
    offsets: list[tuple[Tensor, Tensor]] | None = None  # where the clients' first product was cut out of their base
    scaling: float | str | None = None
    samples: list[float] | None = None  # the clients' shares of the samples, by which the ideal update counts; None: the weights


def rules() -> list[str]:
    """The rules that can be compared: all but those that go by the changes since a broadcast, which uploads do not show."""
    return [rule for rule, ingredient in INGREDIENTS["aggregate"].items() if not ingredient.needs_start]


def compare_rules(uploads: Uploads, own: Experiment | None = None) -> list[Outcome]:
    """The outcome of every rule, the smallest error first."""
    outcomes = [outcome(rule, merged(rule, uploads, own), uploads) for rule in rules()]
    return sorted(outcomes, key=lambda found: (round(found.server, 4), found.smallest))


def merged(rule: str, uploads: Uploads, own: Experiment | None = None) -> Aggregate:
    """What a rule makes of the uploads; with `own`, what that experiment's method does with its own rule and options."""
    factors, weights, offsets, scaling, samples = uploads
    method, options = PLAIN, dict[str, Any](aggregate=rule)
    if own is not None and own.recipe.ingredients["aggregate"] == rule and not own.recipe.personalised:
        method, options = own.method, dict(own.options)
    made = aggregate(method, factors, weights, offsets=offsets, scaling=scaling, **options)
    if samples is None:
        return made
    return replace(made, ideal=aggregate(method, factors, samples, offsets=offsets, scaling=scaling, **options).ideal)


def outcome(rule: str, made: Aggregate, uploads: Uploads) -> Outcome:
    """How far the server, and a client of the smallest rank, are from the ideal update."""
    lost = diagnostics.aggregation_error(made)
    return Outcome(
        rule,
        relative(lost.total, lost.ideal),
        relative(lost.averaging, lost.ideal),
        relative(lost.truncation, lost.ideal),
        relative(low_rank.norm(low_rank.difference(received(made, uploads), made.ideal)), lost.ideal),
    )


def received(made: Aggregate, uploads: Uploads, k: int | None = None) -> Factors:
    """The update that client k, by default the one of the smallest rank, holds after the broadcast."""
    ranks = [len(A) for A, _ in uploads.factors]
    k = min(range(len(ranks)), key=ranks.__getitem__) if k is None else k
    if made.merge:
        return made.update_factors()
    offset = None
    if made.offset is not None and uploads.offsets is not None:
        offset = Factors(*uploads.offsets[k]).times(made.scaling(ranks[k]))
    return made.client_update_factors(ranks[k], offset)


def away(made: Aggregate, uploads: Uploads) -> list[float]:
    """How far every client is from the ideal update after the broadcast, as shares of it."""
    length = low_rank.norm(made.ideal)
    distances = [low_rank.norm(low_rank.difference(received(made, uploads, k), made.ideal)) for k in range(len(uploads.factors))]
    return [relative(distance, length) for distance in distances]


def ideal_update(uploads: Uploads) -> Factors:
    """The weighted sum of what the clients learned."""
    return merged(METHODS[PLAIN].aggregate, uploads).ideal


def truncation_errors(update: Factors, most: int) -> dict[str, list[float]]:
    """What is lost by keeping the first 1, 2, ..., `most` slots of a QR, a pivoted QR and an SVD, as shares of the update."""
    length = low_rank.norm(update)
    S = low_rank.svd(update)[1]
    found = {}
    for name, factorise in CUTS.items():
        factors = factorise(update, most)
        found[name] = [relative(low_rank.norm(Factors(factors.A[r:], factors.B[:, r:])), length) for r in range(1, most + 1)]
    found["SVD"] = [relative(float(S[r:].norm()), length) for r in range(1, most + 1)]
    return found


def uploads_of(experiment: Experiment, record: Round, kept: dict[str, Array], first: dict[str, Array]) -> Uploads:
    """What a stored round's clients sent of one layer; `kept` are the layer's factors of that round, `first` of round 1.

    FieldError where the round does not keep what is needed.
    """
    if not kept:
        sentence = "factors: this round keeps none; train the run anew to have them."
        raise FieldError("factors", None, "a round that keeps them", sentence)
    ranks = slots(experiment, record, kept)
    count = len(kept["trained/A"])
    if count < len(record.clients["id"]):
        clients = len(record.clients["id"])
        sentence = f"clients are {clients}; the record keeps the factors of {count} only."
        raise FieldError("clients", clients, f"{count}", sentence)
    weights, samples = (_shares(record.clients[column][:count]) for column in ("weight", "samples"))
    by_samples = experiment.recipe.ingredient("weighting").by_samples
    factors = [_pair(kept, "trained", k, ranks[k]) for k in range(count)]
    offsets = [_pair(first, "start", k, ranks[k]) for k in range(count)] if cut_out(experiment, record) else None
    return Uploads(factors, weights, offsets, _scaling(experiment.recipe.scaling), None if by_samples else samples)


def slots(experiment: Experiment, record: Round, kept: dict[str, Array]) -> list[int]:
    """How many slots each client of a round holds."""
    whole = kept["trained/A"].shape[1]
    return [whole] * len(record.clients["rank"]) if experiment.recipe.whole else [int(rank) for rank in record.clients["rank"]]


def cut_out(experiment: Experiment, record: Round) -> bool:
    """Whether the clients' first product is still cut out of their base in that round."""
    recipe = experiment.recipe
    if not recipe.ingredient("initialise").cuts_out:
        return False
    return record.index == 1 or not restores(recipe.ingredient("aggregate"), recipe.options)


def _pair(kept: dict[str, Array], when: str, k: int, rank: int) -> tuple[Tensor, Tensor]:
    """One client's factors as double precision tensors."""
    A, B = kept[f"{when}/A"][k], kept[f"{when}/B"][k]
    return torch.from_numpy(A[:rank]).double(), torch.from_numpy(B[:, :rank]).double()


def _shares(column: Array) -> list[float]:
    """A column as shares of its sum."""
    shares: list[float] = (column.astype(float) / column.sum()).tolist()
    return shares


def _scaling(scaling: Scaling) -> float | str:
    return str(scaling) if scaling.over else scaling.alpha


def equal_weights(clients: Sequence[object]) -> list[float]:
    """1/K for each."""
    return [1 / len(clients)] * len(clients)

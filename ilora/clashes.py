"""Ingredients that cannot work together, with the reason and the nearest choice that can: refused before a run starts."""

from collections.abc import Mapping
from typing import NamedTuple

from ilora.ingredients import INGREDIENTS


class Clash(NamedTuple):
    """Any of `keys` in `stage` does not go with any of `others` in `other`; a stage's key is its ingredient."""

    stage: str
    keys: tuple[str, ...]
    other: str
    others: tuple[str, ...]
    reason: str
    nearest: str


_ONE_FACTOR = ("b-only", "alternate", "a-only", "diagonal", "alternate-top")  # leave a factor alone in a round
_WHOLE = ("top-slots", "alternate-top", "sketch")  # everyone holds all slots
_MERGING = ("stack", "thresholded-stack")
_REFACTORING = ("svd", "concat-qr", "concat-pivoted-qr", "rank-partitions", "full-rank-deltas")
_OF_PRODUCTS = (*_REFACTORING, *_MERGING, "corrected-mean", "mean-and-residual")

CLASHES = (
    Clash(
        "sharing", (*_ONE_FACTOR, "top-slots", "sketch"), "initialise", ("fresh",),
        "every client would draw an A of its own, and nobody's slots would mean the same", "initialise 'random'",
    ),
    Clash(
        "sharing", tuple(key for key in _ONE_FACTOR if key != "a-only"), "aggregate", _MERGING,
        "it merges both factors and sets B back to zero, so the factor that is left alone would never be the common one",
        "aggregate 'mean'",
    ),
    Clash(
        "sharing", ("a-only",), "aggregate", _OF_PRODUCTS,
        "it needs the products B A, and no B ever reaches the server", "aggregate 'mean'",
    ),
    Clash(
        "sharing", ("a-only",), "upload", ("rotate",),
        "A would turn on its way to the server, and the B that stays behind would not", "upload 'as-is'",
    ),
    Clash(
        "sharing", ("a-only",), "correction", ("control-variates",),
        "they would carry the gradients of B and of the head out of the client", "correction 'none'",
    ),
    Clash(
        "sharing", ("diagonal",), "upload", ("without-scales",),
        "the scales that were trained would be lost", "upload 'as-is'",
    ),
    Clash(
        "sharing", ("sketch",), "initialise", ("qr",),
        "the product that is cut out of the base would come back only where the sketch falls", "initialise 'random'",
    ),
    Clash(
        "sharing", _WHOLE, "upload", ("prune-tail", "prune-weak"),
        "everyone holds all slots and chooses among them, so there is no tail to drop", "upload 'as-is'",
    ),
    Clash(
        "sharing", _WHOLE, "objective", ("tail-penalty",),
        "everyone holds all slots and chooses among them, so no slot is a client's last", "objective 'cross-entropy'",
    ),
    Clash(
        "server", ("adamw",), "aggregate", (*_REFACTORING, *_MERGING, "mean-and-residual"),
        "it steps slot by slot, and this rule's slots are new ones in every round", "aggregate 'mean'",
    ),
)  # fmt: skip


def check_together(ingredients: Mapping[str, str]) -> None:
    """ValueError of one sentence if two of the ingredients, one per stage, cannot work together."""
    for clash in CLASHES:
        key, other = ingredients[clash.stage], ingredients[clash.other]
        if key in clash.keys and other in clash.others:
            raise ValueError(
                f"option {clash.stage} {key!r} does not go with {clash.other} {other!r}: {clash.reason};"
                f" the nearest choice is {clash.nearest}."
            )


def refuse_personalised(ingredients: Mapping[str, str]) -> None:
    """ValueError of one sentence if the clients keep parts of the model, so that nobody can be handed a global one."""
    sharing = INGREDIENTS["sharing"][ingredients["sharing"]]
    if sharing.personalised:
        raise ValueError(
            f"sharing {ingredients['sharing']!r} leaves no global model to hand out, since parts of it stay with each client;"
            " the nearest choice is sharing 'both'."
        )

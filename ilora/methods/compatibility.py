"""Ingredients that cannot work together, with the reason and the nearest choice that can: refused before a run starts.

Everything that is refused stands in REFUSALS, and so may a rule of your own: it maps (ingredients, options) to a sentence,
or to "" where there is nothing to say. A `Clash` is the rule for two ingredients that never go together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ilora.methods.ingredients import INGREDIENTS

Refusal = Callable[[Mapping[str, str], Mapping[str, Any]], str]


@dataclass(frozen=True)
class Clash:
    """Any of `keys` in `stage` does not go with any of `others` in `other`; a stage's key is its ingredient."""

    stage: str
    keys: tuple[str, ...]
    other: str
    others: tuple[str, ...]
    reason: str
    nearest: str

    def __call__(self, ingredients: Mapping[str, str], options: Mapping[str, Any]) -> str:
        """The sentence where both are chosen, else ""."""
        key, other = ingredients[self.stage], ingredients[self.other]
        if key not in self.keys or other not in self.others:
            return ""
        return (
            f"option {self.stage} {key!r} does not go with {self.other} {other!r}: {self.reason};"
            f" the nearest choice is {self.nearest}."
        )


_ONE_FACTOR = ("b-only", "alternate", "a-only", "diagonal", "alternate-top")  # leave a factor alone in a round
_WHOLE = ("top-slots", "alternate-top", "sketch", "rewards")  # everyone holds all slots
_MERGING = ("stack", "thresholded-stack")
_REFACTORING = tuple(key for key, rule in INGREDIENTS["aggregate"].items() if not rule.keeps_slots and key not in _MERGING)
_PER_SLOT = ("mean-of-changes", "owners-mean")  # count who sends a slot
_OF_PRODUCTS = (*_REFACTORING, *_MERGING, "corrected-mean", "mean-and-residual")

CLASHES: tuple[Clash, ...] = (
    Clash(
        "sharing", (*_ONE_FACTOR, "top-slots", "sketch", "personal-slots", "rewards"), "initialise", ("fresh",),
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
        "sharing", ("a-only",), "weighting", ("contribution",),
        "it needs the products B A, and no B ever reaches the server", "weighting 'samples'",
    ),
    Clash(
        "sharing", ("personal-slots",), "aggregate", tuple(key for key in INGREDIENTS["aggregate"] if key not in _PER_SLOT),
        "it takes all slots of a client, and some of them never leave it", "aggregate 'owners-mean'",
    ),
    Clash(
        "sharing", ("personal-slots",), "upload", ("rotate", "prune-tail", "prune-weak"),
        "it turns or drops slots, and personal ones must stay what they are", "upload 'as-is'",
    ),
    Clash(
        "sharing", ("personal-slots",), "correction", ("control-variates", "scaffold", "global-direction"),
        "it would carry what personal slots learn out of the client", "correction 'split-moments'",
    ),
    Clash(
        "sharing", ("personal-slots",), "server", ("dual-shift",),
        "it adds what personal slots learn to everyone's model", "server 'take'",
    ),
    Clash(
        "sharing", ("rewards",), "objective", ("dual", "contrast", "roughness", "pseudo-out"),
        "it remembers or weighs what clients train, and here the server does", "objective 'grpo'",
    ),
    Clash(
        "sharing", ("rewards",), "correction", ("control-variates", "scaffold", "global-direction", "split-moments"),
        "it corrects the steps of clients, and here the server trains", "correction 'none'",
    ),
    Clash(
        "sharing", ("rewards",), "server", ("dual-shift",),
        "it adds what clients remember of their steps, and here the server trains", "server 'take'",
    ),
    Clash(
        "correction", ("split-moments",), "objective", ("proximal", "dual", "roughness"),
        "it pulls towards the received model, and the second half of the steps starts from another", "objective 'cross-entropy'",
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


def new_slots(ingredients: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Numbers remembered slot by slot cannot go with a stage that gives the slots a new meaning each round."""
    by_slot = ingredients["correction"] in ("global-direction", "scaffold") or ingredients["server"] == "adam"
    by_factor = options.get("space") == "factor" and (ingredients["objective"] == "dual" or ingredients["server"] == "dual-shift")
    for stage, plain in (("aggregate", "mean"), ("upload", "as-is")):
        key = ingredients[stage]
        if (by_slot or by_factor) and not INGREDIENTS[stage][key].keeps_slots:
            way_out = "a method that remembers products, such as 'fedvra'" if by_slot else "space = 'product'"
            return (
                f"option {stage} is {key!r}, which gives the slots of A and B a new meaning each round, but this method remembers"
                f" numbers slot by slot; allowed are {stage} = {plain!r}, or {way_out}."
            )
    return ""


def new_base(ingredients: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Factors of an earlier round cannot be run again where the base beneath them has changed."""
    rule = ingredients["aggregate"]
    merges = rule in (*_MERGING, "mean-and-residual")
    cut_out_once = ingredients["initialise"] == "qr" and not INGREDIENTS["aggregate"][rule].keeps_slots
    runs_again = ingredients["objective"] == "contrast" or (ingredients["objective"] == "grpo" and options["kl"] > 0)
    if not runs_again or not (merges or (cut_out_once and options.get("deltas", True))):
        return ""
    return (
        f"option aggregate is {rule!r}, after which the base beneath an earlier model is another one, but this method runs"
        " that model again; allowed are aggregate = 'svd' or 'mean' with initialise = 'random'."
    )


BESIDE_BRANCHES = {  # what knows nothing of private slots
    "initialise": ("random", "xavier"),
    "objective": ("disentangle",),
    "correction": ("none",),
    "upload": ("as-is", "quantise"),
    "weighting": ("samples", "uniform", "rank-aware", "update-norm"),
    "aggregate": ("mean", "mean-of-changes", "owners-mean", "svd", "concat-qr", "concat-pivoted-qr", "corrected-mean"),
    "server": ("take", "adam", "adamw"),
}


def private_branch(ingredients: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """A private branch goes with what leaves it alone, and only the objective of two phases knows that there are two."""
    if ingredients["sharing"] != "branches":
        if ingredients["objective"] != "disentangle":
            return ""
        return (
            f"option objective 'disentangle' does not go with sharing {ingredients['sharing']!r}: it needs a shared and a private"
            " branch; the nearest choice is sharing 'branches'."
        )
    for stage, allowed in BESIDE_BRANCHES.items():
        if ingredients[stage] not in allowed:
            return (
                f"option sharing 'branches' does not go with {stage} {ingredients[stage]!r}: it would move or give away the"
                f" branch that stays with the client; the nearest choice is {stage} {allowed[0]!r}."
            )
    return ""


REFUSALS: list[Refusal] = [*CLASHES, new_slots, new_base, private_branch]


def check_together(ingredients: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """ValueError of one sentence if the ingredients, one per stage, cannot work together under these options."""
    for refusal in REFUSALS:
        if reason := refusal(ingredients, options):
            raise ValueError(reason)


def refuse_epochs(ingredients: Mapping[str, str]) -> None:
    """ValueError where an ingredient wants every client to take the same number of steps."""
    for stage, key in ingredients.items():
        if INGREDIENTS[stage][key].same_steps:
            raise ValueError(
                f"local_epochs does not go with {stage} {key!r}, which wants equally many steps of every client;"
                " allowed is None, with local_steps instead."
            )


def refuse_regression(ingredients: Mapping[str, str]) -> None:
    """ValueError where an ingredient works on class probabilities and the task's labels are numbers."""
    for stage, key in ingredients.items():
        if INGREDIENTS[stage][key].needs_classes:
            raise ValueError(
                f"option {stage} is {key!r}, which needs classes, and this task's labels are numbers;"
                f" allowed are {', '.join(name for name, other in INGREDIENTS[stage].items() if not other.needs_classes)}."
            )


def refuse_personalised(ingredients: Mapping[str, str]) -> None:
    """ValueError of one sentence if the clients keep parts of the model, so that nobody can be handed a global one."""
    sharing = INGREDIENTS["sharing"][ingredients["sharing"]]
    if sharing.personalised:
        raise ValueError(
            f"sharing {ingredients['sharing']!r} leaves no global model to hand out, since parts of it stay with each client;"
            " the nearest choice is sharing 'both'."
        )

"""Ingredients that cannot work together, with the reason and the nearest choice that can: refused before a run starts.

Everything that is refused stands in REFUSALS, and so may a rule of your own: it maps (ingredients, options) to a sentence,
or to "" where there is nothing to say. A `Clash` is the rule for two ingredients that never go together. The rules here go
by traits and name no ingredient, so they hold for one of your own as well.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ilora.checks import FieldError
from ilora.methods.ingredient import Ingredient
from ilora.methods.ingredients import INGREDIENTS, STAGES
from ilora.methods.method import Method
from ilora.methods.traits import While, holds

Refusal = Callable[[Mapping[str, str], Mapping[str, Any]], str]
Which = str | Collection[str] | Callable[[Ingredient], object]  # one key, several, or a question about an ingredient's traits

PLAIN = Method(title="plain averaging").ingredients


@dataclass(frozen=True)
class Clash:
    """Any of `these` in `stage` does not go with any of `those` in `other`."""

    stage: str
    these: Which
    other: str
    those: Which
    reason: str
    nearest: str = ""  # "stage 'key'"; where none is named, the first of `other` that is none of `those`

    def __call__(self, ingredients: Mapping[str, str], options: Mapping[str, Any]) -> str:
        """The sentence where both are chosen, else ""."""
        key, other = ingredients[self.stage], ingredients[self.other]
        if not (among(self.these, self.stage, key) and among(self.those, self.other, other)):
            return ""
        return sentence((self.stage, key), (self.other, other), self.reason, self.nearest or nearest(self.other, self.those))


def among(which: Which, stage: str, key: str) -> bool:
    """Whether an ingredient is one of those that are meant."""
    if isinstance(which, str):
        return key == which
    return bool(which(INGREDIENTS[stage][key])) if callable(which) else key in which


def nearest(stage: str, refused: Which) -> str:
    """The ingredient nearest to plain averaging that is not refused, as "stage 'key'"."""
    choices = dict.fromkeys((PLAIN[stage], *INGREDIENTS[stage]))
    return f"{stage} {next(key for key in choices if not among(refused, stage, key))!r}"


def sentence(one: tuple[str, str], other: tuple[str, str], reason: str, *ways_out: str) -> str:
    """What a user reads: two ingredients as (stage, key), why they do not go together, and what does."""
    (stage, key), (other_stage, other_key) = one, other
    return (
        f"option {stage} {key!r} does not go with {other_stage} {other_key!r}: {reason};"
        f" the nearest choice is {' or '.join(ways_out)}."
    )


CLASHES: tuple[Clash, ...] = (
    Clash(
        "sharing", lambda own: own.one_factor or own.whole or own.personal_slots, "initialise", lambda own: own.per_client,
        "every client would draw an A of its own, and nobody's slots would mean the same",
    ),
    Clash(
        "sharing", lambda own: own.one_factor and own.factor_is_common, "aggregate", lambda own: own.merges == "everything",
        "it merges both factors and sets B back to zero, so the factor that is left alone would never be the common one",
    ),
    *(
        Clash(
            "sharing", lambda own: own.keeps_b, stage, lambda own: own.needs_products,
            "it needs the products B A, and no B ever reaches the server",
        )
        for stage in ("aggregate", "weighting")
    ),
    Clash(
        "sharing", lambda own: own.keeps_b, "upload", lambda own: not own.keeps_slots,
        "A would turn on its way to the server, and the B that stays behind would not",
    ),
    Clash(
        "sharing", lambda own: own.keeps_b, "correction", lambda own: own.sends_gradients,
        "they would carry the gradients of B and of the head out of the client",
    ),
    Clash(
        "sharing", lambda own: own.personal_slots, "aggregate", lambda own: not own.counts_senders,
        "it takes all slots of a client, and some of them never leave it",
    ),
    Clash(
        "sharing", lambda own: own.personal_slots, "upload", lambda own: own.prunes or not own.keeps_slots,
        "it turns or drops slots, and personal ones must stay what they are",
    ),
    Clash(
        "sharing", lambda own: own.personal_slots, "correction", lambda own: own.sends_twice,
        "it would carry what personal slots learn out of the client",
    ),
    Clash(
        "sharing", lambda own: own.personal_slots, "server", lambda own: own.needs_client_training,
        "it adds what personal slots learn to everyone's model",
    ),
    *(
        Clash(
            "sharing", lambda own: own.server_trains, stage, lambda own: own.needs_client_training,
            "it goes by the steps that clients take, and here the server trains",
        )
        for stage in ("objective", "correction", "server")
    ),
    Clash(
        "correction", lambda own: own.two_phases, "objective", lambda own: own.pulls_back,
        "it pulls towards the received model, and the second half of the steps starts from another",
    ),
    Clash(
        "sharing", lambda own: own.trains_scales, "upload", lambda own: own.drops_scales,
        "the scales that were trained would be lost",
    ),
    Clash(
        "sharing", lambda own: own.runs_part, "initialise", lambda own: own.cuts_out,
        "the product that is cut out of the base would come back only where the sketch falls",
    ),
    Clash(
        "sharing", lambda own: own.whole, "upload", lambda own: own.prunes,
        "everyone holds all slots and chooses among them, so there is no tail to drop",
    ),
    Clash(
        "sharing", lambda own: own.whole, "objective", lambda own: own.prices_tail,
        "everyone holds all slots and chooses among them, so no slot is a client's last",
    ),
    Clash(
        "server", lambda own: own.steps_slots, "aggregate", lambda own: own.merges or not own.keeps_slots,
        "it steps slot by slot, and this rule's slots are new ones in every round",
    ),
    *(
        Clash(
            "sharing", lambda own: own.private_branch, stage, lambda own: not own.leaves_private_branch,
            "it would move or give away the branch that stays with the client",
        )
        for stage in STAGES
        if stage != "sharing"
    ),
    Clash(
        "objective", lambda own: own.needs_private_branch, "sharing", lambda own: not own.private_branch,
        "it needs a shared and a private branch",
    ),
)  # fmt: skip


def new_slots(ingredients: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Numbers remembered slot by slot cannot go with a stage that gives the slots a new meaning each round."""
    for stage, key in ingredients.items():
        remembers = INGREDIENTS[stage][key].remembers_slots
        for other in ("upload", "aggregate") if holds(remembers, options) else ():
            if not INGREDIENTS[other][ingredients[other]].keeps_slots:
                reason = "numbers are remembered slot by slot, and the slots of A and B get a new meaning each round"
                ways_out = nearest(other, lambda own: not own.keeps_slots), *_other_settings(remembers)
                return sentence((stage, key), (other, ingredients[other]), reason, *ways_out)
    return ""


def new_base(ingredients: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """Factors of an earlier round cannot be run again where the base beneath them has changed."""
    initialise, objective, rule = (INGREDIENTS[stage][ingredients[stage]] for stage in ("initialise", "objective", "aggregate"))
    if not (holds(objective.runs_earlier_model, options) and (rule.merges or (initialise.cuts_out and restores(rule, options)))):
        return ""
    reason = "an earlier round's model is run again, and by then the base beneath it is another one"
    settings = _other_settings(objective.runs_earlier_model, None if rule.merges else rule.restores_base)
    ways_out = nearest("aggregate", lambda own: own.merges or not own.keeps_slots), *settings
    return sentence(("objective", ingredients["objective"]), ("aggregate", ingredients["aggregate"]), reason, *ways_out)


def restores(rule: Ingredient, options: Mapping[str, Any]) -> bool:
    """Whether the product that was cut out of the base goes back into it with the first aggregate."""
    return not rule.keeps_slots if rule.restores_base is None else holds(rule.restores_base, options)


def _other_settings(*traits: bool | While | None) -> list[str]:
    """The settings under which traits that depend on an option do not hold."""
    return [trait.otherwise for trait in traits if isinstance(trait, While)]


REFUSALS: list[Refusal] = [*CLASHES, new_slots, new_base]


def check_together(ingredients: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """FieldError of one sentence if the ingredients, one per stage, cannot work together under these options."""
    for refusal in REFUSALS:
        if reason := refusal(ingredients, options):
            raise FieldError("options", dict(ingredients), "ingredients that go together", reason)


def refuse_epochs(ingredients: Mapping[str, str], epochs: int) -> None:
    """FieldError where an ingredient wants every client to take the same number of steps."""
    for stage, key in ingredients.items():
        if INGREDIENTS[stage][key].same_steps:
            allowed = "None, with local_steps instead"
            sentence = f"local_epochs does not go with {stage} {key!r}, which wants equally many steps of every client;"
            raise FieldError("local_epochs", epochs, allowed, f"{sentence} allowed is {allowed}.")


def refuse_regression(ingredients: Mapping[str, str]) -> None:
    """FieldError where an ingredient works on class probabilities and the task's labels are numbers."""
    for stage, key in ingredients.items():
        if INGREDIENTS[stage][key].needs_classes:
            allowed = ", ".join(name for name, other in INGREDIENTS[stage].items() if not other.needs_classes)
            sentence = f"option {stage} is {key!r}, which needs classes, and this task's labels are numbers;"
            raise FieldError(f"options.{stage}", key, allowed, f"{sentence} allowed are {allowed}.")


def refuse_personalised(ingredients: Mapping[str, str]) -> None:
    """FieldError of one sentence if the clients keep parts of the model, so that nobody can be handed a global one."""
    sharing = INGREDIENTS["sharing"][ingredients["sharing"]]
    if sharing.personalised:
        closest = nearest("sharing", lambda own: own.personalised)
        raise FieldError(
            "options.sharing",
            ingredients["sharing"],
            closest,
            f"sharing {ingredients['sharing']!r} leaves no global model to hand out, since parts of it stay with each client;"
            f" the nearest choice is {closest}.",
        )

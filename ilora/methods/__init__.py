"""All methods by key, and how a user's choice of method and options becomes one definite recipe."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ilora.checks import FieldError, shown
from ilora.lora.scaling import Scaling
from ilora.methods.compatibility import check_together
from ilora.methods.ingredient import Ingredient, Option, option_error
from ilora.methods.ingredients import INGREDIENTS, STAGES
from ilora.methods.method import PROVENANCE, Method
from ilora.methods.recipes import client_weighting, drift, ensembles_and_branches, federated_lora, heterogeneous, reward_learning

__all__ = ["METHODS", "PROVENANCE", "Method", "Recipe", "options_of", "register_method", "resolve"]


@dataclass(frozen=True)
class Recipe:
    """A method made definite: one ingredient for each stage, every option with its value, and the scaling."""

    ingredients: Mapping[str, str]
    options: Mapping[str, Any]
    scaling: Scaling

    def ingredient(self, stage: str) -> Ingredient:
        """The ingredient of `stage`, with its traits."""
        return INGREDIENTS[stage][self.ingredients[stage]]

    @property
    def whole(self) -> bool:
        """Whether every client holds all of the server's slots, and its rank is how many of them it may train and send."""
        return self.ingredient("sharing").whole

    @property
    def personalised(self) -> bool:
        """Whether parts of the model stay with the clients, so that there is no global one."""
        return self.ingredient("sharing").personalised

    @property
    def needed_skew(self) -> str:
        """The skew without which the recipe has nothing to do; "" where it takes any, or is run as a negative control."""
        return "" if self.options.get("negative_control") else self.ingredient("sharing").skew

    @property
    def members(self) -> int:
        """How many models answer together, each merged for itself."""
        return int(self.options.get("members", 1))


METHODS: dict[str, Method] = {
    **federated_lora.METHODS,
    **heterogeneous.METHODS,
    **drift.METHODS,
    **client_weighting.METHODS,
    **reward_learning.METHODS,
    **ensembles_and_branches.METHODS,
}


def register_method(key: str, method: Method, **ingredients: Callable[..., Any] | Ingredient) -> None:
    """Add a method under `key`; a keyword such as `aggregate=function` brings its own ingredient for that stage.

    A function or class of the package keeps the options and traits that it has there. One of your own has those that its
    `Ingredient` declares; given without one, it declares nothing. ValueError for a key that is taken or an unknown stage.
    """
    if key in METHODS:
        raise ValueError(f"method {key!r} exists already; choose another key.")
    for stage in ingredients:
        if stage not in INGREDIENTS:
            raise ValueError(f"stage {stage!r} does not exist; allowed are {', '.join(STAGES)}.")
        if key in INGREDIENTS[stage]:
            raise ValueError(f"{stage} {key!r} exists already; choose another key.")
    for stage, source in ingredients.items():
        INGREDIENTS[stage][key] = source if isinstance(source, Ingredient) else _ingredient(stage, source, method.title)
    keys: dict[str, Any] = dict.fromkeys(ingredients, key)
    METHODS[key] = replace(method, **keys)


def _ingredient(stage: str, source: Callable[..., Any], title: str) -> Ingredient:
    """A bare function or class as an ingredient: with all that the package knows of it, or with nothing declared."""
    for known in INGREDIENTS[stage].values():
        if known.is_made_by(source):
            return replace(known, title=title)
    return Ingredient(title, (source.__doc__ or "").strip(), source)


def resolve(method: str, options: Mapping[str, Any], scaling: float | str | None = None) -> Recipe:
    """The recipe of a method under a user's options.

    An option is `mode`, the name of a stage (it swaps that stage's ingredient) or an option of one of the ingredients.
    FieldError names whatever is unknown, not allowed, or does not go together.
    """
    if not isinstance(method, str) or method not in METHODS:
        allowed = ", ".join(METHODS)
        raise FieldError("method", method, allowed, f"method is {shown(method)}; allowed are {allowed}.")
    chosen = METHODS[method]
    mode = options.get("mode", next(iter(chosen.modes), ""))
    if "mode" in options and (not isinstance(mode, str) or mode not in chosen.modes):
        allowed = f"allowed are {', '.join(chosen.modes)}" if chosen.modes else "this method has no modes"
        raise FieldError("options.mode", mode, allowed, f"option mode of method {method} is {shown(mode)}; {allowed}.")
    settings = {**chosen.options, **chosen.modes.get(mode, {}), **options}
    settings = {name: value for name, value in settings.items() if name not in ("mode", "provenance")}
    own_scaling = settings.pop("scaling", 1.0)
    ingredients = {stage: settings.pop(stage, key) for stage, key in chosen.ingredients.items()}
    for stage, key in ingredients.items():
        if not isinstance(key, str) or key not in INGREDIENTS[stage]:
            raise option_error(stage, key, ", ".join(INGREDIENTS[stage]))
    known = options_of(ingredients)
    values = {name: known[name].check(name, settings[name]) if name in settings else known[name].default for name in known}
    own = ["mode"] if chosen.modes else []
    for name in options:
        if name != "mode" and name not in known and name not in STAGES:
            allowed = ", ".join([*own, *STAGES, *known])
            sentence = f"option {name!r} is unknown to method {method}; allowed are {allowed}."
            raise FieldError(f"options.{name}", options[name], allowed, sentence)
    check_together(ingredients, values)
    return Recipe(ingredients, values, Scaling.parse(own_scaling if scaling is None else scaling))


def options_of(ingredients: Mapping[str, str]) -> dict[str, Option]:
    """All options of the chosen ingredients, by name."""
    return {name: option for stage, key in ingredients.items() for name, option in INGREDIENTS[stage][key].options.items()}

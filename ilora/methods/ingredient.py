"""The stages of a round and the ingredients that each can take: names, formulas and options, with no tensor in sight.

An ingredient is one function, or one small class where it keeps state between rounds. It is named here by where it stands
and imported when a round needs it, so that the app can list, explain and check ingredients without torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ilora.checks import FieldError, is_number, shown
from ilora.methods.traits import Traits


def option_error(name: str, value: Any, allowed: str) -> FieldError:
    """The FieldError for the value of an option."""
    return FieldError(f"options.{name}", value, allowed, f"option {name} is {shown(value)}; allowed are {allowed}.")


@dataclass(frozen=True)
class Option:
    """One setting of an ingredient: its default, and what is allowed (a tuple of values, or least and greatest)."""

    default: Any
    about: str
    values: tuple[Any, ...] = ()
    least: float | None = None
    greatest: float | None = None

    def check(self, name: str, value: Any) -> Any:
        """Return `value` if it is allowed; FieldError naming the option otherwise."""
        if self.values:
            if not any(value == allowed and type(value) is type(allowed) for allowed in self.values):
                raise option_error(name, value, ", ".join(map(repr, self.values)))
            return value
        least, greatest = (-float("inf") if self.least is None else self.least, self.greatest or float("inf"))
        if not is_number(value) or not least <= value <= greatest:
            raise option_error(name, value, f"numbers from {least:g} to {greatest:g}")
        return float(value) if isinstance(self.default, float) else int(value)


@dataclass(frozen=True)
class Ingredient(Traits):
    """One way to do one stage of a round, with its traits as keywords."""

    title: str
    idea: str
    source: str | Callable[..., Any]  # "module:name", or the function itself
    formula: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)

    def load(self) -> Any:
        """The function or class that does the work."""
        if not isinstance(self.source, str):
            return self.source
        module, name = self.source.split(":")
        return getattr(import_module(module), name)

    def is_made_by(self, source: Callable[..., Any]) -> bool:
        """Whether `source` is the function or class that does the work; nothing is imported to find out."""
        return self.source is source or self.source == f"{source.__module__}:{getattr(source, '__qualname__', '')}"

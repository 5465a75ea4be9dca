"""Checks of single values, and a setting described once; each refusal is a FieldError of one sentence."""

import json
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

MOST_TEXT = 1_000  # characters


class FieldError(ValueError):
    """A refused value: one sentence with the field, its value and what is allowed.

    `field` is what the user calls the value; "options.<name>" for an option of an ingredient. `sentence` replaces the usual one.
    """

    def __init__(self, field: str, value: Any, allowed: str, sentence: str = "") -> None:
        super().__init__(field, value, allowed, sentence)
        self.field, self.value, self.allowed, self.sentence = field, value, allowed, sentence

    def __str__(self) -> str:
        return self.sentence or f"{self.field} is {shown(self.value)}; allowed: {self.allowed}."


def allow(condition: bool, name: str, value: Any, allowed: str) -> None:
    """Raise the FieldError for a field's value unless the condition holds."""
    if not condition:
        raise FieldError(name, value, allowed)


def one_of(name: str, value: Any, allowed: Collection[str]) -> str:
    """The value; refused if it is none of the allowed names."""
    allow(isinstance(value, str) and value in allowed, name, value, ", ".join(allowed))
    return str(value)


def one_line(name: str, value: Any) -> str:
    """The value; refused if it is no text of one line."""
    allow(isinstance(value, str) and len(value) <= MOST_TEXT and value.isprintable(), name, value, "a text of one line")
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a value is a real number of Python's or of another library, NumPy's among them; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def number(name: str, value: Any, least: float, greatest: float) -> float:
    """The value as a float; refused if it is no number of that range."""
    # the range comes first: it refuses NaN and integers too large for a float
    good = is_number(value) and bool(least <= value <= greatest)
    allow(good, name, value, _number_words(least, greatest))
    return float(value)


def whole(name: str, value: Any, least: int, greatest: int) -> int:
    """The value as an int; refused if it is no whole number of that range."""
    good = is_number(value) and bool(least <= value <= greatest) and value == int(value)
    allow(good, name, value, _whole_words(least, greatest))
    return int(value)


def listed(name: str, value: Any) -> list[Any]:
    """The value as a list; refused if it is no list, tuple, range or array."""
    allow(isinstance(value, Collection) and not isinstance(value, str | bytes | Mapping | Set), name, value, "a list")
    try:
        return list(value)
    except TypeError:  # an array without axes
        raise FieldError(name, value, "a list") from None


def named(name: str, value: Any) -> dict[str, Any]:
    """The value as a dictionary of its own, numbers as Python's; refused if it is no mapping with names for keys."""
    good = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    allow(good, name, value, "a mapping of names to values")
    return {key: _plain(each) for key, each in value.items()}


def shown(value: Any) -> str:
    """A wrong value as an error message shows it, cut where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer or a nesting that Python itself refuses to print
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class Setting:
    """All that is said of one field: the flag, the form, links, sweeps, the glossary and the check are made from it."""

    about: str  # what it is, in full sentences
    least: float = 0  # of a number
    greatest: float = 2**31 - 1
    choices: Collection[str] = ()  # of a text; where it maps names to texts, these say what a choice is
    symbol: str = ""  # in formulas
    label: str = ""  # what a sentence calls it; empty: the field's own name
    group: str = "training"  # the part of the form in which it stands
    sweep: tuple[Any, ...] = ()  # values worth trying one after the other
    empty: str = ""  # what no value stands for
    name: str = ""  # of the field, with its type and default
    kind: Any = str
    default: Any = ""

    @property
    def kinds(self) -> set[Any]:
        """The types that a value may have, a sequence of anything as Sequence; without None."""
        return {get_origin(part) or part for part in self._parts} - {NoneType}

    @property
    def optional(self) -> bool:
        """Whether None is a value."""
        return NoneType in self._parts

    @property
    def _parts(self) -> tuple[Any, ...]:
        return get_args(self.kind) if isinstance(self.kind, UnionType) else (self.kind,)

    @property
    def called(self) -> str:
        """Its name within a sentence."""
        return self.label or self.name.replace("_", " ")

    @property
    def title(self) -> str:
        """Its name where it stands alone."""
        return self.called[0].upper() + self.called[1:]

    @property
    def help(self) -> str:
        """What it is, what its symbol is, and what no value stands for."""
        symbol, empty = f" In formulas: {self.symbol}." if self.symbol else "", f" Empty: {self.empty}." if self.empty else ""
        return f"{self.about}{symbol}{empty}"

    @property
    def allowed(self) -> str:
        """What may be chosen, in words; empty where this depends on other settings."""
        if self.choices:
            meant = self.choices if isinstance(self.choices, Mapping) else {}
            told = [f"{name}: {meant[name]}" if isinstance(meant.get(name), str) else name for name in self.choices]
            return ("; " if any(":" in each for each in told) else ", ").join(told)
        if self.kinds == {int}:
            return _whole_words(int(self.least), int(self.greatest))
        return _number_words(self.least, self.greatest) if self.kinds == {float} else ""

    def check(self, value: Any) -> Any:
        """The value as the field keeps it; FieldError for a wrong one. A field of several types is checked by its owner."""
        if value is None and self.optional:
            return None
        if self.kinds == {int}:
            return whole(self.name, value, int(self.least), int(self.greatest))
        if self.kinds == {float}:
            return number(self.name, value, self.least, self.greatest)
        if self.kinds == {str}:
            return one_of(self.name, value, self.choices) if self.choices else one_line(self.name, value)
        if self.kinds == {Sequence}:
            return tuple(listed(self.name, value))
        if self.kinds == {Mapping}:
            return named(self.name, value)
        return value

    def read(self, text: str) -> Any:
        """The value that a text in a link or on a command line means; what cannot be read is left for `check` to refuse."""
        if Mapping in self.kinds:
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                return text
        if Sequence in self.kinds and text not in self.choices:
            items = next(part for part in self._parts if get_origin(part) is Sequence)
            if int not in get_args(items):
                return [part.strip() for part in text.split(",")]
            return [_as_number(part) for part in text.split(",")] if text else []
        return _as_number(text) if self.kinds & {int, float} else text

    def write(self, value: Any) -> str:
        """The value as text that `read` understands."""
        if isinstance(value, list | tuple):
            return ",".join(map(str, value))
        return json.dumps(value) if isinstance(value, dict) else str(value)


def setting(default: Any, **described: Any) -> Any:
    """A dataclass field with its default and its description, which are the arguments of Setting."""
    metadata = {"setting": Setting(**described)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def settings_of(owner: type) -> dict[str, Setting]:
    """The settings of a dataclass whose fields are all made by `setting`, by name and in their order."""
    return _settings_of(owner).copy()


@cache
def _settings_of(owner: type) -> dict[str, Setting]:
    kinds: dict[str, Any] = get_type_hints(owner)
    return {
        f.name: replace(f.metadata["setting"], name=f.name, kind=kinds[f.name], default=_default_of(f)) for f in fields(owner)
    }


def _default_of(field: Any) -> Any:
    return field.default_factory() if callable(field.default_factory) else field.default


def _whole_words(least: int, greatest: int) -> str:
    return f"a whole number from {least} to {greatest}"


def _number_words(least: float, greatest: float) -> str:
    return f"a number from {least:g} to {greatest:g}"


def _plain(value: Any) -> Any:
    if not is_number(value) or isinstance(value, int | float):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _as_number(text: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text

"""An experiment from the command line's flags: one for each field, and --option for the method's ingredients."""

import argparse
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ilora.checks import FieldError, Setting, settings_of
from ilora.experiment import RANK_PROFILES, Experiment
from ilora.lab.content.presets import preset

# what a start says of these belongs to the field on the left, and goes when a flag changes that
FOLLOWERS = {"task": ("backbone", "targets"), "backbone": ("targets",), "method": ("options",)}


def add_start(parser: argparse.ArgumentParser) -> None:
    """The two ways to start from an experiment that is written down already; flags change its fields."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--preset", metavar="NAME", help="start from these settings; `python -m ilora presets` lists them")
    start.add_argument("--experiment", metavar="FILE.json", help="start from an experiment as Experiment.to_json writes it")


def add_experiment(parser: argparse.ArgumentParser, skip: Iterable[str], owner: type = Experiment) -> None:
    """One flag for each field of Experiment, and --option for the method's ingredients."""
    for name, own in settings_of(owner).items():
        if name != "options" and name not in skip:
            flag = f"--{name.replace('_', '-')}"
            parser.add_argument(flag, dest=f"field_{name}", metavar=name.upper(), help=_help(own).replace("%", "%%"))
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a stage's ingredient or an option of one; may be repeated",
    )


def read_experiment(chosen: argparse.Namespace, method: str | None = None, mode: str | None = None) -> Experiment:
    """The experiment that the flags describe; FieldError for a value that is wrong."""
    given = {
        name.removeprefix("field_"): text for name, text in vars(chosen).items() if name.startswith("field_") and text is not None
    }
    if method is not None:
        given["method"] = method
    start = _without_followers(_start(chosen), given)
    options = json.loads(start.get("options", "{}")) | dict(_read_option(text) for text in chosen.option)
    if mode is not None:
        options["mode"] = mode
    return Experiment.from_query(start | given | {"options": json.dumps(options)})


@contextmanager
def written(name: str, place: str) -> Iterator[None]:
    """FieldError where what a flag names cannot be written."""
    try:
        yield
    except OSError as error:
        allowed = "a place that can be written"
        raise FieldError(name, place, allowed, f"{name} is {place!r} ({error.strerror}); allowed: {allowed}.") from error


def _help(own: Setting) -> str:
    """A field's help with what is allowed and the default, unless that is said as what no value stands for."""
    default = "" if own.default in ((), "", None) else f"default: {own.default}"
    notes = "; ".join(filter(None, (own.allowed, default)))
    return f"{own.help} ({notes})" if notes else own.help


def _start(chosen: argparse.Namespace) -> dict[str, str]:
    """What --preset or --experiment says, as a query."""
    if getattr(chosen, "preset", None):
        return preset(chosen.preset).query()
    if getattr(chosen, "experiment", None):
        return Experiment.from_json(_text_of(chosen.experiment)).to_query()
    return {}


def _text_of(file: str) -> str:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        allowed = "a file with an experiment as JSON"
        raise FieldError("experiment", file, allowed, f"experiment is {file!r} ({reason}); allowed: {allowed}.") from error


def _without_followers(start: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """A start without what belongs to a field that is given anew."""
    gone = {follower for name in given for follower in FOLLOWERS.get(name, ())}
    if given.get("ranks", "") not in {"", *RANK_PROFILES}:
        gone.add("clients")  # a list of ranks says itself how many
    return {name: text for name, text in start.items() if name not in gone}


def _read_option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise FieldError("option", text, "NAME=VALUE")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        number = json.loads(value)
    except ValueError:
        return name, value
    return name, number if isinstance(number, int | float) else value

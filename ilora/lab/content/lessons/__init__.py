"""The lessons as data: what a learner reads, predicts, runs and sees. One TOML file each, in the order of their names; no torch.

The right answer to a question is computed from the runs that the learner has just made (`Check.answer`), never asserted:
where a seed shows something else than usual, the lesson says so.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ilora.experiment import Experiment
from ilora.lab.analysis.measures import MEASURES, with_totals

if TYPE_CHECKING:
    import pandas as pd

FOLDER = Path(__file__).parent
Histories = Mapping[str, "pd.DataFrame"]  # arm -> metrics, one row per round, as Store.history gives them


SMALLEST = 0.001  # a ratio below it is a ratio of nothing


@dataclass(frozen=True)
class Quantity:
    """A measure of one arm, after its last round or after a given one; written "arm.measure" or "arm.measure@round"."""

    arm: str
    measure: str
    round: int = 0  # 0: the last one

    @classmethod
    def parse(cls, text: str) -> "Quantity":
        """Read it from a lesson's file."""
        arm, _, rest = text.partition(".")
        measure, _, round = rest.partition("@")
        return cls(arm, measure, int(round or 0))

    def value(self, histories: Histories) -> float:
        """Its value; NaN where the run has not come so far."""
        history = with_totals(histories[self.arm])
        rows = history if not self.round else history[history["index"] == self.round]
        return float(rows[self.measure].iloc[-1]) if len(rows) else float("nan")

    def text(self, histories: Histories, labels: Mapping[str, str]) -> str:
        """Its value with its unit, and whose it is."""
        when = f", round {self.round}" if self.round else ""
        return f"{MEASURES[self.measure].show(self.value(histories))} ({labels[self.arm]}{when})"


@dataclass(frozen=True)
class Check:
    """How the runs answer a question: in which band a value lies that is read from them."""

    of: Quantity
    minus: Quantity | None
    over: Quantity | None
    bands: tuple[tuple[str, float], ...]  # (choice, upper bound), from the lowest to the highest

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> "Check":
        """Read it from a lesson's file."""
        of, minus, over = (Quantity.parse(given[name]) if name in given else None for name in ("of", "minus", "over"))
        assert of is not None
        return cls(of, minus, over, tuple((choice, float(upper)) for choice, upper in given["bands"]))

    def value(self, histories: Histories) -> float:
        """The number that decides."""
        value = self.of.value(histories)
        if self.minus:
            value -= self.minus.value(histories)
        return value / self.over.value(histories) if self.over else value

    def answer(self, histories: Histories) -> str:
        """The choice that is right for these runs; empty while they cannot tell."""
        value = self.value(histories)
        return next((choice for choice, upper in self.bands if value <= upper), "") if isfinite(value) else ""

    def sentence(self, histories: Histories, labels: Mapping[str, str]) -> str:
        """What the runs show, in numbers."""
        text = f"{MEASURES[self.of.measure].title} in these runs: {self.of.text(histories, labels)}"
        if other := self.minus or self.over:
            named = "" if other.measure == self.of.measure else f"{MEASURES[other.measure].name} "
            times = self.value(histories) if self.over and not self.minus else 0.0
            text += f"{_relation(times)}{named}{other.text(histories, labels)}"
        return f"{text}."


def _relation(times: float) -> str:
    """What stands between a number and the one that it is `times` as large as; no ratio where it is one of nothing."""
    if not times >= SMALLEST:
        return " against "
    factor = f"{times:.3g}"
    return ", twice the " if factor == "2" else ", the same as the " if factor == "1" else f", {factor} times the "


@dataclass(frozen=True)
class Step:
    """One question: predict, observe, explain."""

    ask: str
    choices: Mapping[str, str]
    expected: str  # the choice that runs of most seeds show
    check: Check
    charts: tuple[str, ...]  # a measure, for all arms in one chart, or "arm:chart" of the catalogue
    explain: str
    otherwise: str  # what to make of runs that show something else


@dataclass(frozen=True)
class Lesson:
    """A lesson of five to ten minutes around one set of runs that differ in one thing."""

    id: str
    title: str
    question: str
    minutes: int
    intro: str
    common: Mapping[str, Any]  # settings of all arms
    arms: Mapping[str, tuple[str, Mapping[str, Any]]]  # arm -> label, own settings
    steps: tuple[Step, ...]
    recap: str
    try_it: str

    @property
    def labels(self) -> dict[str, str]:
        """The name of each arm."""
        return {arm: label for arm, (label, _) in self.arms.items()}

    def experiments(self, seed: int = 0) -> dict[str, Experiment]:
        """What is run, one experiment for each arm."""
        return {arm: Experiment(**{**self.common, **own, "seed": seed}) for arm, (_, own) in self.arms.items()}


def read_lesson(path: Path) -> Lesson:
    """One lesson; KeyError or ValueError for a file that lacks something."""
    given = tomllib.loads(path.read_text(encoding="utf-8"))
    arms = {arm: (about["label"], {k: v for k, v in about.items() if k != "label"}) for arm, about in given["arms"].items()}
    steps = tuple(
        Step(
            step["ask"],
            step["choices"],
            step["expected"],
            Check.parse(step["check"]),
            tuple(step["charts"]),
            step["explain"].strip(),
            step.get("otherwise", "").strip(),
        )
        for step in given["steps"]
    )
    words = {name: given[name].strip() for name in ("title", "question", "intro", "recap", "try_it")}
    name = path.stem.partition("-")[2]
    return Lesson(id=name, minutes=given["minutes"], common=given["common"], arms=arms, steps=steps, **words)


@lru_cache(maxsize=1)
def all_lessons() -> dict[str, Lesson]:
    """All lessons by id, in order."""
    found = [read_lesson(path) for path in sorted(FOLDER.glob("*.toml"))]
    return {lesson.id: lesson for lesson in found}

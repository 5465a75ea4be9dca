"""The scalars of a round as people read them: names, units, and which way is better."""

from dataclasses import dataclass, replace
from math import isfinite

import pandas as pd

from ilora.records import SCORE, main_score


@dataclass(frozen=True)
class Measure:
    """A scalar of a round as people read it: its name, its unit, how many decimals, and which way is better."""

    title: str
    about: str
    unit: str = ""
    scale: float = 1.0
    digits: int = 2
    better: str = ""  # "higher", "lower", or neither

    @property
    def name(self) -> str:
        """The title as it stands within a sentence: "test F1"."""
        return self.title[0].lower() + self.title[1:]

    def show(self, value: float) -> str:
        """The value with its unit."""
        if not isfinite(value):
            return "not defined"
        return f"{value * self.scale:,.{self.digits}f}{' ' + self.unit if self.unit else ''}"


MEASURES: dict[str, Measure] = {
    "accuracy": Measure("Test accuracy", "Share of the test samples that the server's model gets right.", "%", 100, 1, "higher"),
    "personal_accuracy": Measure(
        "Personal accuracy",
        "How good each client's own model is for that client right after it trained, mean over the clients.",
        "%",
        100,
        1,
        "higher",
    ),
    "loss": Measure("Test loss", "Mean loss of the server's model on the test samples.", better="lower"),
    "train_loss": Measure("Training loss", "Mean loss during local training, over all clients of the round.", better="lower"),
    "aggregation_error": Measure(
        "Aggregation error",
        "What the server's rule lost, as a share of the ideal update, the average of the clients' updates.",
        "%",
        100,
        1,
        "lower",
    ),
    "averaging_error": Measure(
        "Averaging error", "What averaging factors instead of updates lost, as a share of the ideal update.", "%", 100, 2, "lower"
    ),
    "truncation_error": Measure(
        "Truncation error", "What cutting to a rank lost, as a share of the ideal update.", "%", 100, 2, "lower"
    ),
    "step_error": Measure(
        "Server's own step",
        "How far a step of the server's own (Adam, a dual shift) went, as a share of the ideal update.",
        "%",
        100,
        2,
    ),
    "alignment": Measure(
        "Subspace alignment", "How much the clients' updates share their directions: 1 identical subspaces, 0 none in common."
    ),
    "drift": Measure(
        "Client drift",
        "D: the mean squared distance of the clients' local updates from their mean, divided by the squared norm of the mean.",
    ),
    "cosine": Measure("Cosine between clients", "1: all updates have the same direction. 0: at right angles. -1: opposed."),
    "effective_rank": Measure(
        "Effective rank per layer",
        "How many equally strong directions would be as spread out as the server's update, on average over the layers.",
        digits=1,
    ),
    "energy_share": Measure("Energy share", "Share of the server's update that the smallest rank can hold.", "%", 100, 0),
    "megabytes_up": Measure("Upload", "Everything that the clients have sent to the server so far.", "MB", 1, 2, "lower"),
    "kiloforwards": Measure(
        "Forward passes", "Samples that have passed forward through a model so far, in thousands.", "thousand", 1, 1, "lower"
    ),
    "megabytes_down": Measure("Download", "Everything that the server has sent to the clients so far.", "MB", 1, 2, "lower"),
    "seconds": Measure("Time per round", "Wall-clock time of the round, training and diagnostics.", "s", better="lower"),
}

PERSONAL = "personal "  # before a score's name: the same of the clients' own models
SCORES: dict[str, Measure] = {  # the main scores of tasks that are not known by their accuracy
    f"{SCORE}f1": Measure("Test F1", "Harmonic mean of precision and recall of class 1.", "%", 100, 1, "higher"),
    f"{SCORE}matthews": Measure(
        "Test Matthews correlation", "1: every answer is right. 0: no better than guessing.", digits=3, better="higher"
    ),
    f"{SCORE}pearson": Measure(
        "Test Pearson correlation", "1: answers rise with the labels on a line. 0: no relation.", digits=3, better="higher"
    ),
    f"{SCORE}spearman": Measure(
        "Test Spearman correlation", "1: answers are in the order of the labels. 0: no relation.", digits=3, better="higher"
    ),
}
SCORES |= {
    PERSONAL + name: replace(words, title=words.title.replace("Test", "Personal"), about=MEASURES["personal_accuracy"].about)
    for name, words in SCORES.items()
}


def measure_of(name: str) -> Measure:
    """The words for one of a round's metrics; KeyError if it has none."""
    return SCORES[name] if name in SCORES else MEASURES[name]


def with_totals(history: pd.DataFrame) -> pd.DataFrame:
    """The history with the running totals of what was sent, in megabytes, and of samples that passed forward, in thousands."""
    totals = {
        "megabytes_up": history["bytes_up"].cumsum() / 1e6,
        "megabytes_down": history["bytes_down"].cumsum() / 1e6,
        "kiloforwards": history["forwards"].cumsum() / 1e3,
    }
    personal = history.get("personal_accuracy", float("nan"))  # runs of earlier versions do not have it
    main = main_score(history.columns)
    own = {} if main == "accuracy" else {PERSONAL + main: personal}
    return history.assign(personal_accuracy=personal, **own, **totals)

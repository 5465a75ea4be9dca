"""Comparing over seeds: means with intervals, paired tests, and who is beaten in both of two measures. No screen, no torch."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[np.float64]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half the width of its 95 % t-interval."""
    numbers = np.asarray(values, dtype=float)
    if len(numbers) < 2:
        return float(numbers.mean()), float("nan")
    return float(numbers.mean()), float(student.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / sqrt(len(numbers)))


def over_seeds(histories: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Mean of every number over the rounds that all seeds have, and half of its 95 % t-interval (NaN for one seed).

    histories: one table per seed, a row per round with the round's number in `index`.
    """
    rounds = min(len(history) for history in histories)
    numbers = histories[0].select_dtypes("number").columns
    shared = [name for name in numbers if all(name in history for history in histories)]
    stack = np.stack([history[shared].iloc[:rounds].to_numpy(float) for history in histories])
    mean = pd.DataFrame(stack.mean(0), columns=shared).astype({"index": int})
    if len(histories) == 1:
        return mean, mean * np.nan
    width = student.ppf(0.975, len(histories) - 1) / sqrt(len(histories))
    return mean, pd.DataFrame(width * stack.std(0, ddof=1), columns=shared)


class Difference(NamedTuple):
    """How far the leader is ahead of another one: mean, half of the 95 % interval, and Holm's p-value of a paired t-test."""

    leader: str
    other: str
    mean: float
    half: float
    p: float


def differences(scores: Mapping[str, Sequence[float]], higher: bool = True) -> list[Difference]:
    """The one with the best mean against each other one, by a paired t-test over the seeds that all share, the nearest first.

    scores: for each name the values under seeds 1 to S, at least two. The p-values are Holm's for as many tests as there are
    others (Holm 1979). Positive means: the leader is better.
    """
    sign = 1.0 if higher else -1.0
    leader = max(scores, key=lambda name: sign * float(np.mean(scores[name])))
    ahead = {name: sign * np.subtract(scores[leader], own) for name, own in scores.items() if name != leader}
    p = holm([paired_p(gap) for gap in ahead.values()])
    found = [
        Difference(leader, name, *interval(gap.tolist()), chance) for (name, gap), chance in zip(ahead.items(), p, strict=True)
    ]
    return sorted(found, key=lambda difference: difference.mean)


def paired_p(gaps: Array) -> float:
    """Two-sided p-value of Student's t for a mean difference of zero: gaps (S,), one per seed; NaN for a single one."""
    if len(gaps) < 2:
        return float("nan")
    spread = gaps.std(ddof=1)
    if spread == 0:
        return 1.0 if gaps.mean() == 0 else 0.0
    return float(2 * student.sf(abs(gaps.mean()) * sqrt(len(gaps)) / spread, len(gaps) - 1))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down p-values: in ascending order times m, m - 1, ..., 1, never falling, at most 1."""
    order = np.argsort(p)
    factors = len(p) - np.arange(len(p))
    stepped = np.minimum(1.0, np.maximum.accumulate(np.asarray(p, float)[order] * factors))
    return [float(stepped[place]) for place in np.argsort(order)]


def dominators(points: Array, higher: Sequence[bool]) -> list[int | None]:
    """For each point (n, 2) another one that is no worse in both measures and better in one; None where there is none.

    higher: for each of the two measures whether more is better.
    """
    gains = np.where(higher, points, -points)
    beaten = [(gains >= own).all(1) & (gains > own).any(1) for own in gains]
    return [int(np.argmax(by)) if by.any() else None for by in beaten]

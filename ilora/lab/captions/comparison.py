"""What a comparison says in plain words: who leads, whether that holds over the seeds, who is dominated, and what to mind."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
import pandas as pd

from ilora.lab.analysis.measures import measure_of, with_totals
from ilora.lab.analysis.significance import Array, Difference, dominators
from ilora.lab.captions.words import listed

LEVEL = 0.05


def compare(measure: str, histories: dict[str, pd.DataFrame]) -> str:
    """Which of several runs leads in a measure, and by how much, after the last round that all of them have."""
    words = measure_of(measure)
    common = min((int(history["index"].max()) for history in histories.values() if len(history)), default=0)
    values = {
        name: float(with_totals(history).loc[history["index"] == common, measure].iloc[0])
        for name, history in histories.items()
        if len(history)
    }
    values = {name: value for name, value in values.items() if isfinite(value)}
    if not values:
        return "Nothing has been computed yet."
    order = sorted(values, key=lambda name: values[name], reverse=words.better != "lower")
    first, last = order[0], order[-1]
    if len(order) == 1 or words.show(values[first]) == words.show(values[last]):
        return f"After round {common}: {words.name} {words.show(values[first])} for {'all' if len(order) > 1 else first}."
    label = {"higher": "best", "lower": "lowest"}.get(words.better, "highest")
    other = "highest" if label == "lowest" else "lowest"
    return (
        f"After round {common}, {words.name} is {label} {_with(first)}, {words.show(values[first])},"
        f" and {other} {_with(last)}, {words.show(values[last])}."
    )


def _with(name: str) -> str:
    """With a run of that name, whose name may begin with "with" itself."""
    return name if name.startswith("with ") else f"with {name}"


def over_seeds(seeds: Sequence[int], sentence: str) -> str:
    """A sentence about means, with how many seeds they are taken over: of each entrant."""
    if max(seeds) == 1:
        return sentence
    count = str(max(seeds)) if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
    return f"Means of {count} seeds, with 95 % intervals. {sentence}"


def tested(measure: str, found: Sequence[Difference], seeds: int) -> str:
    """Whom the leader really leads, by which test."""
    words = measure_of(measure)
    sure = [difference.other for difference in found if difference.p < LEVEL]
    unsure = [difference.other for difference in found if not difference.p < LEVEL]
    text = f"In {words.name}, {found[0].leader} has the best mean."
    if sure:
        text += f" It is significantly better than {listed(sure)} ({seeds} seeds)."
    if unsure:
        text += f" Its difference from {listed(unsure)} is not significant{'' if sure else f' ({seeds} seeds)'}."
    return f"{text} Paired t-test over the seeds, Holm's correction for {len(found)} comparison{'s' if len(found) > 1 else ''}."


def difference_row(measure: str, difference: Difference) -> dict[str, str]:
    """One comparison as a row of a table."""
    words = measure_of(measure)
    unit = "points" if words.unit == "%" else words.unit
    low, high = (f"{words.scale * (difference.mean + sign * difference.half):.{words.digits}f}" for sign in (-1, 1))
    return {
        f"{difference.leader} ahead of": difference.other,
        "By": f"{words.scale * difference.mean:.{words.digits}f} {unit}".strip(),
        "95 % interval": f"{low} to {high}",
        "p, Holm": f"{difference.p:.3f}" if difference.p >= 0.001 else "< 0.001",
        "Significant at 5 %": "yes" if difference.p < LEVEL else "no",
    }


def trade_off(names: Sequence[str], points: Array, measures: tuple[str, str]) -> str:
    """Who is on the front, and who is dominated by whom."""
    words = [measure_of(name) for name in measures]
    beaten = dominators(points, (words[0].better == "higher", words[1].better == "higher"))
    front = [name for name, by in zip(names, beaten, strict=True) if by is None]
    lost = [f"{name} by {names[by]}" for name, by in zip(names, beaten, strict=True) if by is not None]
    text = f"{words[0].title} against {words[1].name}: no method is better than {listed(front)} in both."
    return text + (f" Dominated: {listed(lost)}." if lost else "")


def budget(ranks: dict[str, Sequence[int]]) -> str:
    """How many slots the clients of each compared run train, all together: the parameter budget."""
    sums = {name: int(sum(own)) for name, own in ranks.items()}
    if len(set(sums.values())) == 1:
        total = next(iter(sums.values()))
        return f"Parameter budget: the clients' ranks sum to {total} in every run, in each adapted layer."
    return "Parameter budgets differ: the clients' ranks sum to " + ", ".join(f"{n} in {name}" for name, n in sums.items()) + "."


def dead_slots(name: str, coverage: Sequence[np.ndarray]) -> str:
    """Slots that a mean of padded factors has set to zero for good, because nobody of a round had them; "" if none.

    coverage: of rounds 1, 2, ..., (R,) each, the weight of the clients that own a slot.
    """
    for index, covered in enumerate(coverage, 1):
        dead = int((np.asarray(covered) == 0).sum())
        if dead:
            return (
                f"In round {index} of {name} no client had the last {dead} of {len(covered)} slots. Their mean is zero in A and"
                " in B, so no gradient reaches them again: they stay zero for the rest of the run."
            )
    return ""

"""What a comparison says in plain words: what of it holds over the seeds, and who is beaten in both of two measures."""

from collections.abc import Sequence

from ilora.comparison import Array, Difference, dominators
from ilora.measures import measure_of
from ilora.sentences_inside import listed

LEVEL = 0.05


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
        text += f" These {seeds} seeds tell it from {listed(sure)}."
    if unsure:
        text += f" {'They' if sure else f'These {seeds} seeds'} do not tell it from {listed(unsure)}."
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
        "Told apart": "yes" if difference.p < LEVEL else "no",
    }


def trade_off(names: Sequence[str], points: Array, measures: tuple[str, str]) -> str:
    """Who is on the front, and who is dominated by whom."""
    words = [measure_of(name) for name in measures]
    beaten = dominators(points, (words[0].better == "higher", words[1].better == "higher"))
    front = [name for name, by in zip(names, beaten, strict=True) if by is None]
    lost = [f"{name} by {names[by]}" for name, by in zip(names, beaten, strict=True) if by is not None]
    text = f"{words[0].title} against {words[1].name}: nobody beats {listed(front)} in both."
    return text + (f" Dominated: {listed(lost)}." if lost else "")

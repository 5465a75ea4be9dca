"""What the pages that look inside a round say in plain words: one sentence for each figure. No screen, no torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ilora.ingredients import INGREDIENTS
from ilora.sentences import NOTHING

if TYPE_CHECKING:
    from ilora.rules import Outcome


def rules(outcomes: Sequence["Outcome"], ranks: Sequence[int], own: str = "") -> str:
    """What averaging the factors costs, which rule loses least, and what the smallest client is left with."""
    found = {outcome.rule: outcome for outcome in outcomes}
    span = f"rank {min(ranks)}" if min(ranks) == max(ranks) else f"ranks {min(ranks)} to {max(ranks)}"
    text = f"With {len(ranks)} clients of {span}, averaging A and B {_loses(found['mean'].server)}"
    exact = [rule_title(rule) for rule, outcome in found.items() if outcome.server < NOTHING]
    text += f"; {_listed(exact)} {'lose' if len(exact) > 1 else 'loses'} nothing." if exact else "."
    if own in found:
        text += f" The rule of this run, {rule_title(own)}, {_loses(found[own].server)}."
    kept = found["svd"].smallest
    return text + f" After an SVD the client of rank {min(ranks)} is {_percent(kept)} away from the ideal update."


def rotation(amount: float) -> str:
    """What the inner rotation does."""
    if amount == 0:
        return "The clients' slots are not turned: slot 1 means the same direction for everyone."
    return (
        "Every client's slots are turned among themselves. No client's update has changed: only rules that average factors"
        " lose more than before."
    )


def truncation(errors: Mapping[str, Sequence[float]], rank: int, smallest: int) -> str:
    """How much three ways to cut leave out, at the server's rank and at the smallest."""
    at = [f"{name} {_percent(curve[min(rank, len(curve)) - 1])}" for name, curve in errors.items()]
    low = [f"{name} {_percent(curve[min(smallest, len(curve)) - 1])}" for name, curve in errors.items()]
    text = f"Cut to rank {rank}, the ideal update loses: {_listed(at)}."
    return text if smallest == rank else text + f" Cut to rank {smallest}: {_listed(low)}."


def rule_title(rule: str) -> str:
    """A rule's name inside a sentence."""
    return f"“{INGREDIENTS['aggregate'][rule].title}”"


def _loses(share: float) -> str:
    return "loses nothing" if share < NOTHING else f"loses {_percent(share)} of the ideal update"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def _listed(parts: Sequence[str]) -> str:
    """One, two and three, as in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"

"""What is said of the rules of aggregation side by side: what each loses, and what truncation loses. No torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ilora.lab.captions.words import NOTHING, listed, percent
from ilora.methods.ingredients import INGREDIENTS

if TYPE_CHECKING:
    from ilora.lab.analysis.rule_comparison import Outcome


def rules(outcomes: Sequence["Outcome"], ranks: Sequence[int], own: str = "") -> str:
    """What averaging the factors costs, which rule loses least, and what the smallest client is left with."""
    if len(ranks) == 1:
        return f"With one client, of rank {ranks[0]}, there is nothing to average: the ideal update is its own."
    found = {outcome.rule: outcome for outcome in outcomes}
    span = f"rank {min(ranks)}" if min(ranks) == max(ranks) else f"ranks {min(ranks)} to {max(ranks)}"
    text = f"With {len(ranks)} clients of {span}, averaging A and B {loses(found['mean'].server)}"
    exact = [rule_title(rule) for rule, outcome in found.items() if outcome.server < NOTHING]
    text += f"; {listed(exact)} {'lose' if len(exact) > 1 else 'loses'} nothing." if exact else "."
    if own in found:
        text += f" The rule of this run, {rule_title(own)}, {loses(found[own].server)}."
    kept = found["svd"].smallest
    return text + f" After an SVD the client of rank {min(ranks)} is {percent(kept)} off the ideal update."


def rotation(amount: float) -> str:
    """What the inner rotation does."""
    if amount == 0:
        return "The clients' factors are not rotated: slot 1 means the same direction for all of them."
    return (
        "Each client's factors are rotated (A → RᵀA, B → BR); BA is unchanged. Only the error of rules that average factors can"
        " change."
    )


def truncation(errors: Mapping[str, Sequence[float]], rank: int, smallest: int) -> str:
    """How much three truncations lose, at the server's rank and at the smallest."""
    at = [f"{name} {percent(curve[min(rank, len(curve)) - 1])}" for name, curve in errors.items()]
    low = [f"{name} {percent(curve[min(smallest, len(curve)) - 1])}" for name, curve in errors.items()]
    text = f"Truncated to rank {rank}, the ideal update loses: {listed(at)}."
    return text if smallest == rank else text + f" Truncated to rank {smallest}: {listed(low)}."


def rule_title(rule: str) -> str:
    """A rule's name inside a sentence."""
    return f"“{INGREDIENTS['aggregate'][rule].title}”"


def loses(share: float) -> str:
    """What a rule loses of the ideal update, as a predicate."""
    return "loses nothing" if share < NOTHING else f"loses {percent(share)} of the ideal update"

"""What the pages that look inside a round say in plain words: one sentence for each figure. No screen, no torch."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ilora.lab.captions.rounds import NOTHING, client_name
from ilora.lora.scaling import Scaling
from ilora.methods.ingredients import INGREDIENTS
from ilora.records import Array, RunFacts

if TYPE_CHECKING:
    from ilora.lab.analysis.rule_comparison import Outcome

ALL_ALIKE = 0.98  # of the classes: with so many in effect, all are there in about equal numbers


def rules(outcomes: Sequence["Outcome"], ranks: Sequence[int], own: str = "") -> str:
    """What averaging the factors costs, which rule loses least, and what the smallest client is left with."""
    if len(ranks) == 1:
        return f"With one client, of rank {ranks[0]}, there is nothing to average: the ideal update is its own."
    found = {outcome.rule: outcome for outcome in outcomes}
    span = f"rank {min(ranks)}" if min(ranks) == max(ranks) else f"ranks {min(ranks)} to {max(ranks)}"
    text = f"With {len(ranks)} clients of {span}, averaging A and B {_loses(found['mean'].server)}"
    exact = [rule_title(rule) for rule, outcome in found.items() if outcome.server < NOTHING]
    text += f"; {listed(exact)} {'lose' if len(exact) > 1 else 'loses'} nothing." if exact else "."
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
    text = f"Cut to rank {rank}, the ideal update loses: {listed(at)}."
    return text if smallest == rank else text + f" Cut to rank {smallest}: {listed(low)}."


def rule_title(rule: str) -> str:
    """A rule's name inside a sentence."""
    return f"“{INGREDIENTS['aggregate'][rule].title}”"


def _loses(share: float) -> str:
    return "loses nothing" if share < NOTHING else f"loses {_percent(share)} of the ideal update"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def listed(parts: Sequence[str]) -> str:
    """One, two and three, as in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"


def scaling(rule: Scaling, rank: int) -> str:
    """Where alpha, r and alpha/r enter."""
    if not rule.over:
        return f"The update is s·BA with s = {rule.alpha:g} for every rank: LoRA's α is not divided by r here."
    root = "" if rule.over == "r" else "√"
    return (
        f"The update is s·BA with s = α/{root}r = {rule.alpha:g}/{root}{rank} = {rule(rank):.3g}."
        " Clients of other ranks have another s."
    )


def received(name: str, A: Array, B: Array, rank: int, scale: float) -> str:
    """What a client holds when its training begins."""
    if not np.any(B):
        return f"{name} starts with B = 0: its update is zero, its A is random."
    length = np.linalg.norm(scale * B @ A)
    return f"{name} holds {rank} of {len(A)} slots; their product s·BA has length {length:.2g}."


def trained(name: str, moved: float, loss: float, dA: Array, dB: Array) -> str:
    """How far local training moved a client, and which factor moved more."""
    a, b = float(np.linalg.norm(dA)), float(np.linalg.norm(dB))
    still = [factor for factor, change in (("A", a), ("B", b)) if change == 0]
    text = f"{name} moved its update by {moved:.2g} in this layer; its mean loss was {loss:.2f}."
    if still:
        return text + f" {' and '.join(still)} did not move."
    return text + f" A changed by {a:.2g} and B by {b:.2g}."


def sent(name: str, numbers: int, dense: int, weight: float) -> str:
    """What an upload costs against a whole matrix, and how much it counts."""
    return (
        f"A and B of {name[:1].lower()}{name[1:]} are {numbers:,} numbers in this layer, where the whole matrix has {dense:,}."
        f" It counts {100 * weight:.0f} % of the average."
    )


def merged(lost: "Outcome", own: bool) -> str:
    """What the chosen way to merge lost."""
    mine = ", this run's own way," if own else ""
    if lost.server < NOTHING:
        return f"{rule_title(lost.rule)}{mine} loses nothing: the server holds exactly the ideal update."
    parts = f"averaging {_percent(lost.averaging)}, cutting the rank {_percent(lost.truncation)}"
    return f"{rule_title(lost.rule)}{mine} {_loses(lost.server)}: {parts}."


def tried(count: int, best: "Outcome", own: str) -> str:
    """Which of the tried ways lost least."""
    text = f"Of {count} ways that you tried, {rule_title(best.rule)} loses least at the server, {_percent(best.server)}."
    return text + (" It is this run's own." if best.rule == own else "")


def handed_back(name: str, error: float, merges: bool, least: float) -> str:
    """How far a client is from the ideal when the next round begins."""
    if merges:
        return f"Everyone merges the whole update into its base: {name.lower()} is {_percent(error)} away from the ideal update."
    if error < NOTHING:
        return f"{name} holds exactly the ideal update."
    return f"{name} is {_percent(error)} away from the ideal update; the closest client {_percent(least)}."


def classes(facts: RunFacts, effective: Array) -> str:
    """How many classes a client sees, on average and at worst."""
    held = (np.asarray(facts.class_counts) > 0).sum(1)
    if facts.clients == 1:
        return f"The only client holds {held[0]} of {len(facts.classes)} classes, in effect {effective[0]:.1f}."
    poorest = int(np.argmin(effective))
    if effective[poorest] > ALL_ALIKE * len(facts.classes):
        return f"Every client holds all {len(facts.classes)} classes in about equal numbers."
    return (
        f"A client holds {held.mean():.1f} of {len(facts.classes)} classes on average, in effect {effective.mean():.1f}."
        f" {client_name(poorest).capitalize()} sees fewest in effect, {effective[poorest]:.1f} of {held[poorest]} that it holds."
    )


def sizes(facts: RunFacts) -> str:
    """How unequal the amounts are."""
    most, least = int(max(facts.samples)), int(min(facts.samples))
    if facts.clients == 1:
        return f"The only client holds all {most} samples."
    if most - least <= 1:
        return f"All {facts.clients} clients hold about the same: {most:,} samples."
    heavy = int(np.argmax(facts.samples))
    share = 100 * most / int(sum(facts.samples))
    return f"Client {heavy + 1} holds {most:,} samples, {share:.0f} % of all; the poorest client {least:,}."


def samples_shown(facts: RunFacts, rows: int) -> str:
    """Whose samples are shown, and who holds one class only."""
    counts = np.asarray(facts.class_counts[:rows])
    single = [f"client {k + 1} ({facts.classes[int(counts[k].argmax())]})" for k in range(rows) if (counts[k] > 0).sum() == 1]
    text = f"Some training samples of {'all' if rows == facts.clients else f'the first {rows}'} clients, sorted by class."
    return text + (f" One class only: {listed(single[:3])}." if single else "")

"""What is said of one round, step by step: received, trained, sent, merged, handed back. No screen, no torch."""

from typing import TYPE_CHECKING

import numpy as np

from ilora.lab.captions.rules import loses, rule_title
from ilora.lab.captions.words import NOTHING, percent
from ilora.lora.scaling import Scaling
from ilora.records import Array

if TYPE_CHECKING:
    from ilora.lab.analysis.rule_comparison import Outcome


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
    return f"{name} holds {rank} of {len(A)} slots; their product s·BA has norm {length:.2g}."


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
        f" The client's weight in the average is {percent(weight, 0)}."
    )


def merged(lost: "Outcome", own: bool) -> str:
    """What the chosen rule lost."""
    mine = ", this run's own rule," if own else ""
    if lost.server < NOTHING:
        return f"{rule_title(lost.rule)}{mine} loses nothing: the server holds exactly the ideal update."
    parts = f"averaging {percent(lost.averaging)}, truncating {percent(lost.truncation)}"
    return f"{rule_title(lost.rule)}{mine} {loses(lost.server)}: {parts}."


def tried(count: int, best: "Outcome", own: str) -> str:
    """Which of the tried rules lost least."""
    text = f"Of {count} rules that you tried, {rule_title(best.rule)} loses least at the server, {percent(best.server)}."
    return text + (" It is this run's own." if best.rule == own else "")


def handed_back(name: str, error: float, merges: bool, least: float) -> str:
    """How far a client is from the ideal when the next round begins."""
    if merges:
        return f"Every client merges the whole update into its base: {name.lower()} is {percent(error)} off the ideal update."
    if error < NOTHING:
        return f"{name} holds exactly the ideal update."
    return f"{name} is {percent(error)} off the ideal update; the closest client {percent(least)}."

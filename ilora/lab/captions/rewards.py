"""What records say of methods that learn from rewards: numbers over the rounds and sentences. No screen, no torch."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from ilora.lab.analysis.measures import MEASURES, Measure
from ilora.lab.captions.words import client_name, percent
from ilora.records import Round

COLUMNS = {"entropy": "entropy", "target": "entropy_target", "alpha": "alpha", "pass_1": "pass_1", "pass_8": "pass_8"}


def trace(records: Sequence[Round]) -> pd.DataFrame:
    """One row for each round: entropy, target, alpha and pass@k on the clients' prompts, by samples, and the test score."""
    rows = []
    for record in records:
        share = np.asarray(record.clients["samples"], float)
        means = {name: float(np.average(record.clients[column], weights=share)) for name, column in COLUMNS.items()}
        rows.append({"index": record.index, "score": record.score, **means})
    return pd.DataFrame(rows, columns=["index", "score", *COLUMNS])


def price(alpha: float, group: int, options: Mapping[str, Any]) -> np.ndarray:
    """(G + 1,) lambda for a group with 0, 1, ... G right answers, under a run's options."""
    if options["bonus"] != "adaptive":
        return np.full(group + 1, alpha)
    return alpha * np.maximum(0, 1 - np.linspace(0, 1, group + 1) / options["rho"])


def thermostat(traces: Mapping[str, pd.DataFrame]) -> str:
    """How each run's entropy ends, against the target."""
    ends = {name: trace.iloc[-1] for name, trace in traces.items() if len(trace)}
    if not ends:
        return "Nothing has been computed yet."
    first = next(iter(ends.values()))
    listed = ", ".join(f"{end['entropy']:.2f} with {name}" for name, end in ends.items())
    return f"After the rounds so far the entropy is {listed}; the target is {first['target']:.2f}."


def valve(traces: Mapping[str, pd.DataFrame], greatest: float) -> str:
    """How far the valve of the first run is open, and whether it is pinned."""
    name, chosen = next(iter(traces.items()))
    if not len(chosen):
        return "Nothing has been computed yet."
    alpha = float(chosen["alpha"].iloc[-1])
    opened = chosen.loc[chosen["alpha"] > 0, "index"]
    if alpha >= greatest > 0:
        return f"Alpha of {name} is pinned at its cap, {greatest:g}: the valve is open and still does not reach the target."
    if not len(opened):
        return f"Alpha of {name} is still 0: the entropy has not been below its target."
    return f"Alpha of {name} left 0 in round {int(opened.iloc[0])} and is {alpha:.2f} now."


def explored(groups: np.ndarray, bonus: np.ndarray) -> str:
    """How many prompts are explored, and how many are settled."""
    total, active = int(groups.sum()), int(groups[bonus > 0].sum())
    return (
        f"Of {total} prompts, {int(groups[-1])} are answered right every time and {int(groups[0])} never;"
        f" the bonus acts on {active}."
    )


def router(record: Round) -> str:
    """Whom the router trusts most, and how right the fused reward is beside the best client's own."""
    clients = record.clients
    most, best = int(np.argmax(clients["trust"])), int(np.argmax(clients["reward_accuracy"]))
    return (
        f"The router gives {client_name(clients['id'][most])} most weight, {percent(clients['trust'][most], 0)}. The fused"
        f" reward puts the right answer first for {percent(clients['fused_accuracy'][0], 0)} of the prompts; the best"
        f" single one, of {client_name(clients['id'][best])}, for {percent(clients['reward_accuracy'][best], 0)}."
    )


def ladder(scores: Mapping[str, float], words: Measure = MEASURES["accuracy"]) -> str:
    """The order of the rewards by what their policy achieves, and whether it is the one that one would expect."""
    known = {name: value for name, value in scores.items() if isfinite(value)}
    if len(known) < 2:
        return "Run the variants to see what each reward is worth."
    order = sorted(known, key=lambda name: known[name])
    text = "From worst to best: " + ", ".join(f"{name} {words.show(known[name])}" for name in order) + "."
    expected = [name for name in scores if name in known and not name.startswith("Supervised")]
    climbs = [known[name] for name in expected]
    if len(climbs) < 2:
        return text
    return text + (" Each step up the ladder helps." if climbs == sorted(climbs) else " Not every step up the ladder helps here.")

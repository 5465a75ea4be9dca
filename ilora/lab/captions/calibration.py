"""What can be said of how sure models are, from a round's record: tables for the figures, and the sentence under each of them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ilora.lab.captions.words import percent
from ilora.records import SCORE, Array, Round

LEAST = 1e-30  # so that the logarithm of a zero is finite
WHO = {  # what stands in Round.pictures, and how it is called
    "server": "the server's model",
    "clients/single": "a client alone",
    "clients": "the clients together",
    "client": "the only client",
    "members/single": "a member alone",
    "members": "the ensemble",
}
MEASURES = {"calibration error": "calibration error", "loss": "loss", "brier": "Brier score"}


def bins_of(record: Round) -> dict[str, Array]:
    """Per model the (3, BINS) answers sorted by confidence, in the order of WHO; an ensemble is its server's model."""
    kept = record.pictures
    if len(kept.get("clients/probabilities", ())) == 1:
        kept = {"client/bins" if name == "clients/bins" else name: array for name, array in kept.items()}
    found = {who: kept.get(f"{who.replace('/single', '')}/{'single ' if '/single' in who else ''}bins") for who in WHO}
    if found["members"] is not None:
        found["server"] = None
    return {who: bins for who, bins in found.items() if bins is not None}


def error_of(bins: Array) -> float:
    """ECE: the mean gap between confidence and accuracy, weighted by how many answers are in a bin."""
    return float((bins[0] * np.abs(bins[2] - bins[1])).sum() / max(1.0, bins[0].sum()))


def leaning(bins: Array) -> float:
    """Mean confidence minus accuracy: above 0 overconfident, below 0 underconfident."""
    return float((bins[0] * (bins[1] - bins[2])).sum() / max(1.0, bins[0].sum()))


def reliability(bins: Array, who: str, at: int) -> str:
    """How far to trust what a model says of itself."""
    lean, error = 100 * leaning(bins), 100 * error_of(bins)
    sure, right = (percent(float((bins[0] * row).sum() / max(1.0, bins[0].sum())), 0) for row in bins[1:])
    verb = "are" if who == "clients" else "is"
    text = f"{WHO[who].capitalize()} {verb} {sure} confident on average and right {right} of the time in round {at}"
    if abs(lean) < 2:
        return f"{text}: they agree within 2 points. Bin by bin they differ by {error:.0f} points."
    return f"{text}: {'over' if lean > 0 else 'under'}confident by {abs(lean):.0f} points. Bin by bin they differ by {error:.0f}."


def over_rounds(history: pd.DataFrame, measure: str) -> dict[str, pd.Series]:
    """A measure over the rounds of every model that has it, by who."""
    columns = {who: f"{SCORE}{who.replace('/single', ' member')} {measure}" for who in WHO}
    if f"{SCORE}clients member calibration error" not in history:
        columns["client"] = columns.pop("clients")
    if measure == "loss":
        columns["server"] = "loss"
    if f"{SCORE}members {measure}" in history:
        columns.pop("server")
    return {who: history[column] for who, column in columns.items() if column in history}


def lowest(history: pd.DataFrame, measure: str, at: int) -> str:
    """Who does best by a measure in the round that is looked at."""
    lines = {who: float(line.loc[at]) for who, line in over_rounds(history, measure).items() if not np.isnan(line.loc[at])}
    if not lines:
        return "This run has no such measure."
    best = min(lines, key=lambda who: lines[who])
    others = ", ".join(f"{WHO[who]} {value:.2f}" for who, value in lines.items() if who != best)
    text = f"In round {at} {WHO[best]} {'have' if best == 'clients' else 'has'} the lowest {MEASURES[measure]}, {lines[best]:.2f}"
    return text + (f"; {others}." if others else ".")


def entropy(p: Array) -> Array:
    """H in nats over the last axis."""
    return np.asarray(-(p * np.log(np.maximum(p, LEAST))).sum(-1))


def epistemic(members: Array) -> Array:
    """(samples,) H[mean p_i] - mean H[p_i], nats; members (M, samples, C)."""
    return np.asarray(np.maximum(0, entropy(members.mean(0)) - entropy(members).mean(0)))


def most_disputed(members: Array) -> list[int]:
    """The samples, the most disputed first."""
    return [int(i) for i in np.argsort(-epistemic(members), kind="stable")]


def ensemble(members: Array, labels: Array, sample: int, classes: Mapping[int, str] | tuple[str, ...], who: str) -> str:
    """What the members say of one sample, and how much of the uncertainty is disagreement between them."""
    p = members[:, sample].mean(0)
    answer, truth = int(p.argmax()), int(labels[sample])
    votes = int((members[:, sample].argmax(-1) == answer).sum())
    total, between = float(entropy(p)), float(epistemic(members)[sample])
    name = "clients" if who == "clients" else "members"
    text = f"{votes} of {len(members)} {name} say {classes[answer]}, with a joint confidence of {percent(p[answer], 0)}"
    text += "; that is right." if answer == truth else f"; the right answer is {classes[truth]}."
    share = between / total if total > 0 else 0.0
    return f"{text} Of their uncertainty, {total:.2f} nats, {percent(share, 0)} is disagreement between them."


def probe(history: pd.DataFrame, at: int, clients: int) -> str:
    """How well the client can be guessed from each branch."""
    guessed = {branch: history[f"{SCORE}client guessed from {branch} features"].loc[at] for branch in ("shared", "private")}
    shared, private = (percent(share, 0) for share in guessed.values())
    return (
        f"In round {at} a linear probe names the right client for {shared} of the samples from the shared branch, and for"
        f" {private} from the private ones; chance is {percent(1 / clients, 0)}."
    )


def branch(points: Array, groups: Array, branch_name: str, what: str) -> str:
    """How much of the spread in the plane is between the groups."""
    flat, owner = points.reshape(-1, points.shape[-1]), np.asarray(groups).reshape(-1)
    centre, total = flat.mean(0), float(((flat - flat.mean(0)) ** 2).sum())
    between = sum(float((owner == g).sum() * ((flat[owner == g].mean(0) - centre) ** 2).sum()) for g in np.unique(owner))
    share = between / total if total > 0 else 0.0
    return f"In the {branch_name} branch {percent(share, 0)} of the spread in this plane is between {what}."

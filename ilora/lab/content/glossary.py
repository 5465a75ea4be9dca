"""Every term of the field that the screen uses, in one or two plain sentences; shown on hover, and all of them on one page."""

import re
from functools import lru_cache

from ilora.checks import settings_of
from ilora.experiment import Experiment

GLOSSARY = {
    "mode": "ILoRA in four forms. Corrected: the paper's algorithm with its bookkeeping corrected. Transported: the same, and"
    " control variates are carried into each round's new components, which is ours. Official: the authors' code, with the"
    " departures that the page Methods lists. Paper: the formulas as they are quoted, with the code's control variates.",
    "client": "One participant. It trains on its own samples, which never leave it, and sends its adapter and head.",
    "rank": "How many directions a client's adapter has. A higher rank can express more, and costs more to train and send.",
    "adapter": "Two thin matrices A (r × d_in) and B (d_out × r) beside a frozen layer. Only they are trained.",
    "update": "What a client has learned in a layer: ΔW = s·BA.",
    "ideal update": "The weighted average of the clients' updates, of whatever rank.",
    "aggregation error": "How far the server's update is from the ideal update, as a share of the ideal update's Frobenius norm.",
    "truncation error": "The part of the aggregation error that comes from truncating the update to a rank.",
    "subspace alignment": "How much the clients' updates share their directions: 1 identical subspaces, 0 none in common."
    " Chance is the overlap of random subspaces.",
    "client drift": "D: the mean squared distance of the clients' local updates from their mean, divided by the squared norm of"
    " the mean. Its square root is a ratio of lengths. The measure is ours, not the paper's.",
    "rank collapse": "The server's update shrinks, over the rounds, to as many directions as the smallest rank.",
    "control variate": "A remembered mean gradient. Each step subtracts the client's own one and adds the global one.",
    "effective rank": "How many equally strong directions would be as spread out as the update's singular values: exp of the"
    " entropy of the normalised values.",
    "head": "The last layer, which names the class. Every client trains it, and the server averages it.",
    "round": "Broadcast, local training, upload, aggregation: once each.",
    "LoRA": "Low-rank adaptation: leave a weight matrix frozen and learn a small correction BA to it, of a low rank r.",
    "federated learning": "Many clients train one model together. Their samples stay with them; model updates are sent.",
    "FedAvg": "Federated averaging: each client trains, and the server takes the weighted average of the results.",
    "factor": "One of the two thin matrices, A or B, whose product is the update.",
    "slot": "Slot j is row j of A with column j of B: one rank-one component of an adapter.",
    "server": "Where updates arrive and are aggregated. It sees adapters, never samples.",
    "broadcast": "The server sends the clients the model that they start a round from.",
    "upload": "A client sends its trained adapter to the server.",
    "aggregate": "Combine the clients' updates into one.",
    "non-IID": "The clients' data differ from each other: not independent and identically distributed.",
    "IID": "Independent and identically distributed: all clients' data look alike.",
    "label skew": "Each client has mostly samples of a few classes.",
    "ghost": "Reference run: an earlier run, drawn pale behind the present one to compare with.",
    "averaging error": "The part of the aggregation error that comes from averaging A and B instead of the updates BA.",
    "stacking": "Put all clients' factors side by side. Their product is the exact sum of the updates, at the sum of the ranks.",
    "SVD": "Singular value decomposition: a matrix as directions with strengths. Its strongest r are the best approximation of"
    " rank r.",
    "QR decomposition": "Writes a matrix as Q, whose columns are orthonormal, times R, a triangle. Its first r columns and rows"
    " reproduce the first r input coordinates exactly. Cheaper than an SVD for a dense matrix; from thin factors both cost the"
    " same order.",
    "QR initialisation": "Start A and B from a QR decomposition of the frozen weight. All clients then start from the same"
    " directions, as they do from any common start.",
    "singular value": "How strong a direction of a matrix is.",
    "principal angle": "The angle between two subspaces: 0° they share the direction, 90° they have nothing in common.",
    "overlap": "How much of one subspace lies in a second one: 1 all of it, 0 nothing.",
    "chance": "The overlap of random subspaces of the same ranks. Only an overlap above it is a sign of agreement.",
    "energy share": "How much of an update's squared Frobenius norm lies in its first few directions.",
    "coverage": "The share of the clients, by weight, whose rank is large enough to have a slot.",
    "Frobenius norm": "The root of the sum of a matrix's squared entries: its length as a vector.",
    "cosine": "1: two updates have the same direction. 0: at right angles. Below 0: opposed.",
    "local update": "What a client changed in a round: where it ended minus where it started.",
    "personal accuracy": "The score of a client's own model on test samples, weighted to the mix of classes that this client"
    " has.",
    "test accuracy": "The share of test samples, which no client has, that the server's model gets right.",
    "loss": "How surprised the model is by the right answer. Lower is better.",
    "forward pass": "One sample through the model once.",
    "provenance": "Where the formulas of a method come from: the authors' code, the paper, third-party code, or a reconstruction"
    " of ours.",
    "residual": "What is left of the ideal update after the server's rule; some methods merge it into the base.",
    "merge": "Add an update to the frozen weight of all clients.",
    "proximal term": "A penalty on the distance from where the round started. It keeps clients near the received model.",
    "ingredient": "Component of a method: what it does in one stage of a round. A method has one for each stage.",
    "personalised": "Parts of the model stay with the clients, so that there is no single global model.",
    "calibration error": "The gap between how sure a model is and how often it is right: of answers that it is 80 % sure of, 80 %"
    " should be right. 0: they agree.",
    "ensemble": "Several models that answer together: the mean of their probabilities counts.",
    "member": "One of the models of an ensemble. LoRA-Ensemble trains several adapters, each aggregated separately.",
    "entropy": "How undecided probabilities are, in nats: 0 for one certain answer; ln(classes), 2.3 for ten, for a uniform"
    " guess.",
    "policy": "A model that learns from rewards: it picks an answer and is told how good it was, not which one is right.",
    "reward": "A number that says how good an answer was.",
    "router": "In MoR: a small network that decides for every prompt how much each client's reward counts.",
    "pass@k": "The chance that at least one of k drawn answers is right.",
    "linear probe": "A linear classifier on frozen features. What it can tell is contained in the features.",
    "scenario": "A ready-made experiment that shows one thing, and says what to watch.",
    "subspace": "The set of all combinations of a few directions: what a client's update reads (rows) or writes (columns).",
    "gauge": "The freedom to write one update in several ways: B M and M⁻¹A, for any invertible M, have the same product as B"
    " and A.",
    "orthonormal": "Vectors of length 1 at right angles to each other.",
    "pivoted QR": "A QR decomposition that takes the largest remaining column first, so the first ones tend to be the strongest.",
    "Pareto": "A method is on the Pareto front if no other one is at least equal in both measures and better in one.",
    "dual": "In FedDyn and FedVRA: a remembered vector for each client that tilts its loss, so that local optima come to agree.",
    "sweep": "The same experiment once for each of several values of one setting.",
    "PEFT": "The Python library whose adapters can be loaded beside a pretrained model; ours are written in its format.",
}
NO_TERMS = ("clients", "rounds", "options")  # explained as "client", "round" and "ingredient"
TERMS = {"lr": "learning rate", "adapter": "start adapter"}  # an adapter is something else, too
GLOSSARY |= {
    TERMS.get(name, name.replace("_", " ")): own.help for name, own in settings_of(Experiment).items() if name not in NO_TERMS
}
ALSO = {"Dirichlet": "alpha", "drift": "client drift", "alignment": "subspace alignment", "principal angles": "principal angle"}
TITLES = {"alpha": "Dirichlet α", "skew": "Skew (who holds what)", "targets": "Adapted layers"}
# words too common, or of too many meanings, to be explained in a text
CONTROLS = {"alpha", "scenario", "ranks", "task", "skew", "mode", "targets", "device", "seed", "chance"}
ALSO |= {"rewards": "reward", "members": "member", "probe": "linear probe"}
ALSO |= {"singular values": "singular value", "control variates": "control variate", "factors": "factor", "slots": "slot"}


def explain(term: str) -> str:
    """The explanation of a term; KeyError if the glossary lacks it."""
    return GLOSSARY[term]


def explain_all(text: str, most: int = 4) -> str:
    """The explanations of the first few terms that a text uses, as a Markdown list; empty if it uses none."""
    found = []
    for match in _pattern().finditer(text):
        word = match[0].lower()
        term = next(t for t in (*GLOSSARY, *ALSO) if t.lower() == word)
        term = ALSO.get(term, term)
        if term not in found:
            found.append(term)
    return "\n".join(f"- **{TITLES.get(term, term)}**: {GLOSSARY[term]}" for term in found[:most])


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """Any term of the glossary as a whole word, the longest first."""
    words = sorted((term for term in (*GLOSSARY, *ALSO) if term not in CONTROLS), key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(map(re.escape, words))})\b", re.IGNORECASE)

"""Every term of the field that the screen uses, in one or two plain sentences; shown on hover, and all of them on one page."""

import re
from functools import lru_cache

from ilora.checks import settings_of
from ilora.experiment import Experiment

GLOSSARY = {
    "mode": "ILoRA in three forms. Corrected: the paper's algorithm with its bookkeeping right. Official: the authors' code,"
    " literally. Paper: the formulas as printed.",
    "client": "One participant. It trains on its own samples, which never leave it, and sends only its adapter.",
    "rank": "How many directions a client's adapter has. A higher rank can express more, and costs more to train and send.",
    "adapter": "Two thin matrices A (r × d_in) and B (d_out × r) beside a frozen layer. Only they are trained.",
    "update": "What a client has learned in a layer: ΔW = s·BA.",
    "ideal update": "The weighted average of the clients' updates: what the server would hold if it could hold everything.",
    "aggregation error": "How far the server's update is from the ideal update, as a share of the ideal update's length.",
    "truncation error": "The part of the aggregation error that comes from cutting the update to a rank.",
    "subspace alignment": "How much the clients' updates share their directions: 1 all of them, 0 none."
    " Chance is what random directions would give.",
    "client drift": "How far the clients' movements lie from their mean in a round, relative to the mean's length.",
    "rank collapse": "The server's update comes to live in the few directions that the smallest rank can hold.",
    "control variate": "A remembered gradient. It shifts each client's step towards where everyone goes.",
    "effective rank": "How many directions an update really uses: exp of the entropy of its normalised singular values.",
    "head": "The last layer, which names the class. It is trained and averaged like everyone's.",
    "round": "Broadcast, local training, upload, aggregation: once each.",
    "LoRA": "Low-rank adaptation: leave a weight matrix frozen and learn a small correction BA to it, of a low rank r.",
    "federated learning": "Many clients train one model together. Their samples stay with them; only what they learned is sent.",
    "FedAvg": "Federated averaging: each client trains, the server takes the weighted average of what comes back.",
    "factor": "One of the two thin matrices, A or B, whose product is the update.",
    "slot": "One row of A with its column of B: the part of an adapter that carries one direction.",
    "server": "Where updates arrive and become one. It sees adapters, never samples.",
    "broadcast": "The server sends the clients what they start a round from.",
    "upload": "A client sends its trained adapter to the server.",
    "aggregate": "Turn the clients' updates into one.",
    "non-IID": "The clients' data are unlike each other: not independent and identically distributed.",
    "IID": "Independent and identically distributed: every client's data look like everyone's.",
    "label skew": "Each client holds mostly a few of the classes.",
    "ghost": "An earlier run, drawn pale behind the present one to compare with.",
    "averaging error": "The part of the aggregation error that comes from averaging A and B instead of the updates BA.",
    "stacking": "Put all clients' factors side by side. Their product is the exact sum of the updates, at the sum of the ranks.",
    "SVD": "Singular value decomposition: a matrix as directions with strengths. Its strongest r make the best copy of rank r.",
    "QR decomposition": "Writes a matrix as Q, whose columns are at right angles, times R, a triangle. Cheaper than an SVD.",
    "QR initialisation": "Start A and B from a QR decomposition of the frozen weight. All clients then start from the same"
    " directions.",
    "singular value": "How strong a direction of a matrix is.",
    "principal angle": "The angle between two subspaces: 0° they share the direction, 90° they have nothing in common.",
    "overlap": "How much of one subspace lies in another: 1 all of it, 0 nothing.",
    "chance": "What random subspaces of the same ranks would overlap. Only more than this means something.",
    "energy share": "How much of an update's squared length lies in its first few directions.",
    "coverage": "The share of the clients whose rank is large enough to hold a slot.",
    "Frobenius norm": "The length of a matrix: the root of the sum of its squared entries.",
    "cosine": "1: two movements point the same way. 0: at right angles. Below 0: against each other.",
    "local movement": "What a client changed in a round: where it ended minus where it started.",
    "personal accuracy": "A client's own model, tested on the mix of classes that this client has.",
    "test accuracy": "The share of samples held back from all clients that the server's model gets right.",
    "loss": "How surprised the model is by the right answer. Lower is better.",
    "forward pass": "One sample through the model once.",
    "provenance": "Where the formulas of a method come from: the authors' code, the paper, or a reconstruction of ours.",
    "residual": "What is left of the ideal update after the server's rule; some methods merge it into the base.",
    "merge": "Fold an update into the frozen weight, for everyone.",
    "proximal term": "A pull back to where the round started. It keeps clients from running off.",
    "ingredient": "What a method does in one stage of a round. A method is one ingredient per stage.",
    "personalised": "Parts of the model stay with the clients, so that there is no single global model.",
    "calibration error": "The gap between how sure a model is and how often it is right: of answers that it is 80 % sure of, 80 %"
    " should be right. 0 is honest.",
    "ensemble": "Several models that answer together: the mean of their probabilities counts.",
    "member": "One of the models of an ensemble. LoRA-Ensemble trains several adapters, each merged for itself.",
    "entropy": "How undecided probabilities are, in nats: 0 one sure answer; ln(classes), 2.3 for ten, a plain guess.",
    "policy": "A model that is taught by rewards: it picks an answer and is told how good it was, not which one is right.",
    "reward": "A number that says how good an answer was.",
    "router": "In MoR: a small network that decides for every prompt whose reward counts how much.",
    "pass@k": "The chance that at least one of k drawn answers is right.",
    "linear probe": "A linear classifier on frozen features. What it can name stands in the features for all to read.",
    "scenario": "A ready-made experiment that shows one thing, with a word on what to watch.",
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

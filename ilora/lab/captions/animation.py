"""What happens in a phase of a round, as the film on the first page says it. No screen, no torch."""

import numpy as np

from ilora.lab.captions.words import percent
from ilora.records import Round, RunFacts


def story(record: Round, facts: RunFacts, phase: str) -> str:
    """What happens in a phase of a round, in numbers of that round."""
    low, high = int(np.argmin(facts.ranks)), int(np.argmax(facts.ranks))
    counts = np.asarray(facts.class_counts)
    narrow = int(np.argmax(counts.max(1) / counts.sum(1)))
    own = facts.classes[int(np.argmax(counts[narrow]))]
    share = counts[narrow].max() / counts[narrow].sum()
    head = f"Round {record.index}, "
    return {
        "broadcast": f"{head}broadcast: the server sends every client factors of its rank. Client {low + 1} gets"
        f" {facts.ranks[low]} directions per layer, client {high + 1} gets {facts.ranks[high]}.",
        "train": f"{head}local training: each client trains on its own samples, which never leave it."
        f" {percent(share, 0)} of those of client {narrow + 1} are of class {own}.",
        "upload": f"{head}upload: the clients send the thin factors A and B and the head, {record.bytes_up / 1e6:.2f} MB for all"
        f" {facts.clients} clients together. A wider arrow has more weight: its client has more samples.",
        "merge": f"{head}aggregation: the server merges the updates. The global model now gets {percent(record.accuracy, 0)} of"
        f" the test samples right; the server's rule lost {percent(record.aggregation_error, 1)} of the ideal update.",
    }[phase]

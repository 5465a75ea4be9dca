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
        "broadcast": f"{head}broadcast: the server hands every client what its rank can hold. Client {low + 1} gets"
        f" {facts.ranks[low]} directions per layer, client {high + 1} gets {facts.ranks[high]}.",
        "train": f"{head}local training: everybody learns from their own samples, which never leave them."
        f" {percent(share, 0)} of those of client {narrow + 1} are of class {own}.",
        "upload": f"{head}upload: back go only the thin factors A and B, {record.bytes_up / 1e6:.2f} MB for all"
        f" {facts.clients} clients together. A wider arrow counts more: it has more samples behind it.",
        "merge": f"{head}aggregation: one update is made of all. The common model now gets {percent(record.accuracy, 0)} of"
        f" the test samples right; the server's rule lost {percent(record.aggregation_error, 1)} of the ideal update.",
    }[phase]

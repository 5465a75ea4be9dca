"""What is said of the clients' data: how much each holds, of how many classes, and which samples are shown. No torch."""

import numpy as np

from ilora.lab.captions.words import client_name, clients_named, listed, percent
from ilora.records import Array, RunFacts

ALL_ALIKE = 0.98  # of the classes: with so many in effect, all are there in about equal numbers


def client_data(facts: RunFacts) -> str:
    """Who holds most and least, how many classes the poorest client sees, and whose labels are random."""
    return _amounts(facts) + _noise(facts)


def _noise(facts: RunFacts) -> str:
    return f" The labels of {clients_named(facts.noisy)} are random." if facts.noisy else ""


def _amounts(facts: RunFacts) -> str:
    seen = (np.asarray(facts.class_counts) > 0).sum(1)
    most, least, poorest = int(np.argmax(facts.samples)), int(np.argmin(facts.samples)), int(np.argmin(seen))
    if facts.clients == 1:
        return f"One client holds all {int(facts.samples[0]):,} samples, of {int(seen[0])} classes."
    if facts.samples[most] - facts.samples[least] <= 1:
        text = f"All {facts.clients} clients hold about the same, {int(facts.samples[most]):,} samples each."
    else:
        text = f"Client {most + 1} holds most, {int(facts.samples[most]):,} samples;"
        text += f" client {least + 1} holds least, {int(facts.samples[least]):,}."
    if seen[poorest] == len(facts.classes):
        text += " Every client sees every class"
        return text + (f", in a style of its own: {', '.join(dict.fromkeys(facts.styles))}." if facts.styles else ".")
    return text + f" Client {poorest + 1} sees only {int(seen[poorest])} of {len(facts.classes)} classes."


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
    share = percent(most / int(sum(facts.samples)), 0)
    return f"Client {heavy + 1} holds {most:,} samples, {share} of all; the poorest client {least:,}."


def samples_shown(facts: RunFacts, rows: int) -> str:
    """Whose samples are shown, and who holds one class only."""
    counts = np.asarray(facts.class_counts[:rows])
    single = [f"client {k + 1} ({facts.classes[int(counts[k].argmax())]})" for k in range(rows) if (counts[k] > 0).sum() == 1]
    text = f"Some training samples of {'all' if rows == facts.clients else f'the first {rows}'} clients, sorted by class."
    return text + (f" One class only: {listed(single[:3])}." if single else "")

"""What the pages about directions, paths and collapse say in plain words. No screen, no torch."""

from collections.abc import Mapping, Sequence

import numpy as np

from ilora.lab.analysis.subspaces import Paths, Planes
from ilora.lab.captions.words import client_name, percent
from ilora.records import Array, Round

ROUNDING = 1e-4  # of a gradient's length: a correction below it is float32's rounding


def angle_spectrum(name: str, spectra: Mapping[str, Array], chance: Array) -> str:
    """Whom a client agrees with most and least, direction by direction."""
    means = {other: float(np.mean(values)) for other, values in spectra.items() if len(values)}
    if not means:
        return f"{name.capitalize()} has no other client to be compared with in this round."
    near, far = min(means, key=lambda other: means[other]), max(means, key=lambda other: means[other])
    return (
        f"{name.capitalize()} is closest to {near}, {means[near]:.0f}° on average, and furthest from {far}, {means[far]:.0f}°;"
        f" random subspaces would be {float(np.mean(chance)):.0f}° apart."
    )


def planes(found: Planes, labels: Sequence[str]) -> str:
    """How much of the clients' strongest directions three common ones hold, and who stands apart."""
    lengths = np.square(found.axes).sum((1, 2))
    if len(labels) == 1:
        return f"Only {labels[0]} trained in this round, so its plane stands alone."
    apart = int(np.argmin(lengths))
    return (
        f"Three common directions hold {percent(found.share, 0)} of the clients' two strongest directions."
        f" {labels[apart].capitalize()} lies in them least."
    )


def paths(found: Paths, at: int) -> str:
    """How far the clients and the server move in a round, and how much of all distances the plane holds."""
    t = found.rounds.index(at) if at in found.rounds else len(found.rounds) - 1
    start, end = found.server[t], found.server[t + 1]
    step, local = float(np.linalg.norm(end - start)), np.linalg.norm(found.clients[t] - start, axis=1)
    who = f"clients move {local.min():.2g}–{local.max():.2g}" if len(local) > 1 else f"only client moves {local[0]:.2g}"
    return (
        f"In round {found.rounds[t]} the {who} in this plane,"
        f" the server {step:.2g}."
        f" The plane holds {percent(found.share, 0)} of all squared distances."
    )


def corrections(record: Round) -> str:
    """How large the correction is, and whether it works against the clients' own gradients."""
    clients = record.clients
    ratio = np.asarray(clients["correction_norm"]) / np.maximum(np.asarray(clients["gradient_norm"]), 1e-12)
    if ratio.max(initial=0) < ROUNDING:
        why = "they are still zero: no gradient has been sent before" if record.index == 1 else "all clients remember the same"
        return f"In round {record.index} the control variates change nothing: {why}."
    most = int(np.argmax(ratio))
    name = client_name(clients["id"][most], clients["rank"][most])
    against = int((np.asarray(clients["cosine_to_correction"]) < 0).sum())
    return (
        f"In round {record.index} the correction is strongest for {name}, {ratio[most]:.1f} times its own gradient."
        f" For {against} of {len(ratio)} clients its cosine with their gradient is negative."
    )


def turned(record: Round) -> str:
    """How many clients the correction brings closer to the mean gradient."""
    before, after = np.asarray(record.clients["cosine_to_mean"]), np.asarray(record.clients["corrected_cosine_to_mean"])
    if len(before) == 1:
        return f"In round {record.index} there is only one client: its gradient is the mean gradient."
    if np.allclose(before, after, atol=1e-6):
        return f"In round {record.index} nothing is corrected: the mean cosine to the mean gradient is {before.mean():.2f}."
    closer = int((after > before + 1e-6).sum())
    return (
        f"In round {record.index} the correction turns {closer} of {len(before)} clients closer to the mean gradient:"
        f" the mean cosine goes from {before.mean():.2f} to {after.mean():.2f}."
    )


def spectra_over_rounds(series: Mapping[str, Array], at: int, smallest: int) -> str:
    """How strong the directions are that the smallest rank cannot hold."""
    t = place(series, at)
    held, ideal = (_beyond(series[name][t], smallest) for name in ("singular_values", "singular_values_ideal"))
    if len(series["singular_values"][t]) <= smallest:
        return f"All clients have rank {smallest}, and so has the server: no direction is diluted."
    return (
        f"After round {int(series['index'][t])}, singular value {smallest + 1} of the server's update is {percent(held, 0)} of"
        f" the largest, that of the ideal update {percent(ideal, 0)}."
    )


def energy(series: Mapping[str, Array], at: int, smallest: int) -> str:
    """How much of the update the smallest rank holds, and whether the server's is poorer than the ideal one."""
    t = place(series, at)
    held, ideal = float(series["energy_share"][t]), float(series["energy_share_ideal"][t])
    after = f"After round {int(series['index'][t])}"
    if not np.isfinite(held - ideal):
        return f"{after} there is no update to divide up."
    if held > 0.999 and ideal > 0.999:
        return (
            f"{after} rank {smallest} holds all of both updates, the server's and the ideal: there is nothing beyond it to lose."
        )
    text = f"{after} rank {smallest} holds {percent(held, 0)} of the server's update and {percent(ideal, 0)} of the ideal."
    return text + (
        " The server's update is collapsing." if held - ideal > 0.1 else " No sign of collapse." if held - ideal < 0.03 else ""
    )


def effective_ranks(series: Mapping[str, Array], at: int) -> str:
    """The effective rank of the server's update and of the ideal one, and how it has changed."""
    t = place(series, at)
    held, ideal = (float(series[name][t]) for name in ("effective_rank", "effective_rank_ideal"))
    text = f"After round {int(series['index'][t])} the server's update has effective rank {held:.1f}, the ideal one {ideal:.1f}"
    return text + (
        f"; in round {int(series['index'][0])} the server's had {float(series['effective_rank'][0]):.1f}." if t else "."
    )


def coverage(owned: Array, smallest: int) -> str:
    """How few clients stand behind the last slot."""
    if owned[-1] > 0.999:
        return f"All clients have all {len(owned)} slots."
    held = int((owned > 0).sum())
    if held < len(owned):
        return f"No client of this round has {'slot' if held + 1 == len(owned) else f'slots {held + 1} to'} {len(owned)}."
    share = f"clients with {percent(owned[-1], 0)} of the weight"
    return f"All clients have the first {smallest} slots; slot {len(owned)} belongs to {share}."


def place(series: Mapping[str, Array], at: int) -> int:
    """Where a round, or the last one before it that is known, stands in the series."""
    return max(0, int(np.searchsorted(series["index"], at, side="right")) - 1)


def _beyond(sigma: Array, smallest: int) -> float:
    return float(sigma[smallest] / max(float(sigma[0]), 1e-12)) if len(sigma) > smallest else 0.0

"""What a record says in plain words: one sentence for each figure, which is also its text alternative. No screen, no torch."""

from collections.abc import Collection
from math import isfinite

import numpy as np
import pandas as pd

from ilora.lab.analysis.measures import MEASURES, Measure, measure_of, with_totals
from ilora.lab.captions.words import NOTHING, client_name, clients_named, layer_names, percent, share
from ilora.records import Round, RunFacts, main_score

PAIRWISE = ("alignment", "cosine")  # measures that compare clients with each other


def machine(record: Round, facts: RunFacts, kind: str = "image") -> str:
    """On what a round ran, how fast, and in how much memory: training passes over the whole time of the round."""
    parts = [facts.device, facts.precision, f"{facts.threads} thread{'' if facts.threads == 1 else 's'}"]
    if record.seconds > 0 and record.forwards:
        parts.append(f"{record.forwards / record.seconds:,.0f} {kind}s/s")
    if record.peak_megabytes:
        parts.append(f"{record.peak_megabytes:,.0f} MB {'on the card' if facts.device == 'cuda' else 'in all'}")
    return ", ".join(parts)


def over_rounds(measure: str, history: pd.DataFrame, at: int | None = None) -> str:
    """What a scalar does over the rounds, up to round `at`."""
    row, before = _rows(history, at)
    words = measure_of(measure)
    if measure in PAIRWISE and not isfinite(row[measure]):
        return f"After round {int(row['index'])} there is no {words.name}: it takes two clients that moved."
    text = f"After round {int(row['index'])}: {words.name} {words.show(row[measure])}"
    if before is not None and isfinite(before[measure]) and isfinite(row[measure]):
        text += f", {_change(words, row[measure] - before[measure])} round {int(before['index'])}"
    return text + "."


def accuracy(history: pd.DataFrame, at: int | None = None, classes: int = 0) -> str:
    """How good the server's model is by the task's own score, how that changed, and what guessing would get right."""
    if (main := main_score(history.columns)) != "accuracy":
        return over_rounds(main, history, at)
    row, before = _rows(history, at)
    right = MEASURES["accuracy"].show(row["accuracy"])
    text = f"After round {int(row['index'])} the server's model gets {right} of the test samples right"
    points = 0.0 if before is None else 100 * (row["accuracy"] - before["accuracy"])
    if abs(points) >= 0.05:
        text += f", {abs(points):.1f} points {'more' if points > 0 else 'less'} than a round earlier"
    elif before is not None:
        text += ", as in the round before"
    return text + (f"; guessing would get {100 / classes:.0f} %." if classes else ".")


def loss(history: pd.DataFrame, at: int | None = None) -> str:
    """Test loss against training loss: do the clients fit their own samples better than the test set?"""
    row, _ = _rows(history, at)
    own, test = row["train_loss"], row["loss"]
    text = f"In round {int(row['index'])} the loss is {own:.2f} on the clients' own samples and {test:.2f} on the test samples"
    if not isfinite(test - own):
        return text + "."
    if own - test > 0.1:
        return f"{text}. The training loss is averaged over the round's steps, so it starts higher."
    return text + (": the clients fit their own samples better." if test - own > 0.1 else ": the two are close.")


def error_split(history: pd.DataFrame, at: int | None = None, server_rank: int | None = None, step: str = "") -> str:
    """What averaging and what truncating the rank have lost in a round; `step` names what the server did to it afterwards."""
    row, _ = _rows(history, at)
    cut = f"truncating to rank {server_rank}" if server_rank else "truncating"
    averaged, truncated, whole = row["averaging_error"], row["truncation_error"], row["aggregation_error"]
    moved = row.get("step_error", 0.0)
    if not (isfinite(averaged) and isfinite(truncated)):
        return f"In round {int(row['index'])} there is nothing to compare: no client learned, or each keeps its own model."
    if max(averaged, truncated, whole) < NOTHING:
        return f"In round {int(row['index'])} nothing was lost: the server holds exactly the average of the clients' updates."
    far = f", with {share(moved)} of the ideal update's norm," if moved >= NOTHING else ","
    held = f"After the server's own step, “{step}”{far} its update" if step else "The server's update"
    return (
        f"In round {int(row['index'])} averaging lost {share(averaged)} of the ideal update; {cut} lost {share(truncated)}."
        f" {held} is off by {share(whole)} in all."
    )


def error_by_layer(record: Round) -> str:
    """Where the server's rule lost most and least."""
    errors = {layer: r.relative_error for layer, r in record.layers.items() if isfinite(r.relative_error)}
    names = layer_names(list(record.layers))
    if not errors:
        return f"In round {record.index} no layer has an ideal update to compare with."
    worst, best = max(errors, key=lambda layer: errors[layer]), min(errors, key=lambda layer: errors[layer])
    if errors[worst] < NOTHING:
        return f"In round {record.index} no layer lost anything."
    if len(errors) == 1:
        return f"In round {record.index} {names[worst]} lost {share(errors[worst])} of its ideal update."
    most, least = share(errors[worst]), share(errors[best])
    return f"In round {record.index} {names[worst]} lost most, {most} of its ideal update, and {names[best]} least, {least}."


def alignment(record: Round, layer: str, side: str = "columns") -> str:
    """Which client shares fewest directions with the others, against chance."""
    found = record.layers[layer]
    overlap = _others(found.overlap_columns if side == "columns" else found.overlap_rows)
    where = layer_names(list(record.layers))[layer]
    if overlap.size < 2 or np.isnan(overlap).all():
        return f"In round {record.index} there is no pair of clients in {where} to compare."
    least = int(np.nanargmin(overlap))
    chance = _others(found.overlap_chance)[least]
    return (
        f"{_client(record, least)} shares least with the others in {where}, round {record.index}: overlap {overlap[least]:.2f} on"
        f" average, where random subspaces would have {chance:.2f}. All pairs together: {np.nanmean(overlap):.2f}."
    )


def angles(record: Round, layer: str) -> str:
    """Which client's update is at the largest angle to the others', in degrees."""
    found = record.layers[layer]
    where = layer_names(list(record.layers))[layer]
    among = _others(found.angles)
    if among.size < 2 or np.isnan(among).all():
        return f"In round {record.index} there is no pair of clients in {where} to compare."
    far = int(np.nanargmax(among))
    towards = found.angles_global[far]
    text = f"{_client(record, far)} is at {among[far]:.0f}° to the other clients in {where}, round {record.index}"
    return text + (f", and at {towards:.0f}° to the ideal update." if isfinite(towards) else ".")


def drift(record: Round, layer: str) -> str:
    """Which client's update is furthest from the mean update."""
    found = record.layers[layer]
    where = layer_names(list(record.layers))[layer]
    if len(found.drift_clients) < 2 or np.isnan(found.drift_clients).all():
        return f"In round {record.index} there is only one update in {where}, so there is no drift."
    far = int(np.nanargmax(found.drift_clients))
    times = f"a distance of {found.drift_clients[far]:.1f} times the mean's norm"
    text = f"{_client(record, far)} is furthest from the mean update in {where}, round {record.index}: {times}"
    return text + (f"; the updates of two clients have cosine {found.cosine:.2f} on average." if isfinite(found.cosine) else ".")


def outweighed(record: Round) -> str:
    """A warning where the clients' corrections are longer than their own gradients on average; "" otherwise."""
    ratio = record.correction_ratio
    if not ratio > 1:
        return ""
    return f" On average the correction has {ratio:.1f} times the norm of a client's own gradient."


def left_out(now: Collection[int], then: Collection[int]) -> str:
    """Which clients this run leaves out, and which the next one will, where that differs; "" if nobody."""
    said = f" This run excludes {clients_named(now)}." if now else ""
    return said + (f" The next run excludes {clients_named(then)}." if set(then) != set(now) else "")


def traffic(history: pd.DataFrame, at: int | None = None) -> str:
    """What has been sent so far, up and down."""
    row, _ = _rows(with_totals(history), at)
    return (
        f"By round {int(row['index'])} the clients have sent {row['megabytes_up']:.2f} MB up and received"
        f" {row['megabytes_down']:.2f} MB; a round costs {row['bytes_up'] / 1e6:.2f} MB up."
    )


def spectrum(record: Round, layer: str, smallest: int | None = None) -> str:
    """The effective rank of the server's update, and how much of it the smallest rank of all clients can hold."""
    found = record.layers[layer]
    smallest = smallest or int(np.min(record.clients["rank"]))
    where = layer_names(list(record.layers))[layer]
    if not isfinite(found.effective_rank):
        return f"In round {record.index} the server's update of {where} is zero."
    return (
        f"After round {record.index} the server's update of {where} has effective rank {found.effective_rank:.1f}, the ideal"
        f" update {found.effective_rank_ideal:.1f}; the first {smallest} directions hold {percent(found.energy_share, 0)} of the"
        " server's."
    )


def participation(record: Round, facts: RunFacts) -> str:
    """Who took part in a round, and how unequal the ranks are."""
    ranks = np.asarray(facts.ranks)
    span = f"all of rank {ranks[0]}" if ranks.min() == ranks.max() else f"of ranks {ranks.min()} to {ranks.max()}"
    present = len(record.clients["id"])
    if facts.clients == 1:
        return f"The only client, {span.removeprefix('all ')}, took part in round {record.index}."
    heavy = int(np.argmax(record.clients["weight"]))
    return (
        f"{present} of {facts.clients} clients, {span}, took part in round {record.index};"
        f" {_client(record, heavy).lower()} has the largest weight, {percent(record.clients['weight'][heavy], 0)}."
    )


def clients_accuracy(record: Round) -> str:
    """How much the clients' own models differ, on all classes and on their own mix."""
    both, own = record.clients["accuracy"], record.clients["personal_accuracy"]
    if np.isnan(both).all():
        return f"In round {record.index} no client has been tested."
    best, worst = int(np.nanargmax(both)), int(np.nanargmin(both))
    if (main := main_score(record.metrics())) != "accuracy":
        words = measure_of(main)
        return (
            f"In round {record.index}, {words.name} is {words.show(both[best])} for {_client(record, best).lower()}, the"
            f" best, and {words.show(both[worst])} for {_client(record, worst).lower()}; on their own mix of classes they average"
            f" {words.show(np.nanmean(own))}."
        )
    if best == worst:
        return f"In round {record.index} {_client(record, best).lower()} gets {percent(both[best], 0)} of the test samples right."
    return (
        f"In round {record.index} {_client(record, best).lower()} does best on all classes, {percent(both[best], 0)}, and"
        f" {_client(record, worst).lower()} worst, {percent(both[worst], 0)}; on their own mix of classes they average"
        f" {percent(np.nanmean(own), 0)}."
    )


def moved(record: Round) -> str:
    """How much the method moves the model although nothing is learned; "" where it does not."""
    length = record.moved_without_learning
    if not isfinite(length) or length < NOTHING:
        return ""
    return f"Even without any learning this method moves the adapted weights by {share(length)} of their norm."


def _rows(history: pd.DataFrame, at: int | None) -> tuple[pd.Series, pd.Series | None]:
    """The row of round `at` (the last one by default) and the one before it."""
    upto = history if at is None else history[history["index"] <= at]
    return upto.iloc[-1], upto.iloc[-2] if len(upto) > 1 else None


def _others(pairs: np.ndarray) -> np.ndarray:
    """Mean of each row of a clients x clients matrix, its diagonal left out."""
    apart = np.array(pairs, dtype=float)
    np.fill_diagonal(apart, np.nan)
    known = (~np.isnan(apart)).sum(1)
    return np.where(known > 0, np.nansum(apart, 1) / np.maximum(known, 1), np.nan)


def _client(record: Round, position: int) -> str:
    return client_name(record.clients["id"][position], record.clients["rank"][position]).capitalize()


def _change(words: Measure, difference: float) -> str:
    if float(f"{difference * words.scale:.{words.digits}f}") == 0:
        return "as after"
    return f"{words.show(abs(difference))} {'more' if difference > 0 else 'less'} than after"

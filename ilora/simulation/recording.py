"""Writes the record of a round: turns what happened, in tensors, into the numbers and arrays of `records`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ilora import diagnostics
from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate, relative
from ilora.lora.factors import Factors, Stack
from ilora.records import MOST_PAIRED, LayerRecord, Round
from ilora.simulation.communication import Traffic
from ilora.simulation.evaluation import ClientScores, Findings, ServerScores
from ilora.simulation.server import Aggregated, ServerLayer
from ilora.stages.context import RoundContext
from ilora.training.hardware import peak_megabytes


@dataclass(frozen=True)
class LayerOutcome:
    """One layer's round: what the clients received and trained, what the server's rule made of it, what the server keeps after
    a step of its own, and what was merged beneath before.
    """

    start: Stack
    trained: Stack
    scales: Tensor
    made: Aggregate
    aggregate: Aggregate
    merged: Factors | None

    @cached_property
    def whole(self) -> tuple[Tensor, Tensor, Tensor]:
        """U, S, V of all that the server's model differs from theta_0, what is merged included."""
        held = self.aggregate.update_factors()
        return low_rank.svd(held if self.merged is None else low_rank.add(held, self.merged))


def layer_outcome(context: RoundContext, layer: ServerLayer, aggregated: Aggregated) -> LayerOutcome:
    """One layer of a round, before the server has taken it."""
    server, clients = context.server, context.clients
    return LayerOutcome(
        start=server.stack(clients.start, layer.name),
        trained=server.stack(clients.trained.parameters, layer.name),
        scales=clients.models.base.scales,
        made=aggregated.made,
        aggregate=aggregated.kept,
        merged=layer.merged_factors(),
    )


def layer_record(layer: ServerLayer, outcome: LayerOutcome, p: Tensor, r_min: int) -> LayerRecord:
    """All diagnostics of one layer after one round."""
    aggregate = outcome.aggregate
    error = diagnostics.aggregation_error(outcome.made, outcome.merged, aggregate)
    ideal = aggregate.ideal if outcome.merged is None else low_rank.add(aggregate.ideal, outcome.merged)
    sigma, sigma_ideal = outcome.whole[1], low_rank.svd(ideal)[1]
    moves = diagnostics.movements(outcome.start, outcome.trained, outcome.scales)
    D, drift_clients = diagnostics.drift(moves, p)
    return LayerRecord(
        aggregation_error=error.total,
        relative_error=relative(error.total, error.ideal),
        averaging_error=relative(error.averaging, error.ideal),
        truncation_error=relative(error.truncation, error.ideal),
        update_norm=float(torch.linalg.vector_norm(sigma)),
        ideal_norm=error.ideal,
        weight_norm=float(torch.linalg.matrix_norm(layer.weight)),
        drift=D,
        effective_rank=diagnostics.effective_rank(sigma),
        effective_rank_ideal=diagnostics.effective_rank(sigma_ideal),
        energy_share=diagnostics.energy_share(sigma, r_min),
        energy_share_ideal=diagnostics.energy_share(sigma_ideal, r_min),
        singular_values=first_numbers(sigma, layer.rank),
        singular_values_ideal=first_numbers(sigma_ideal, layer.rank),
        coverage=diagnostics.coverage(outcome.start.ranks, p, layer.rank).numpy(),
        drift_clients=drift_clients.float().cpu().numpy(),
        movement_norm=diagnostics.norms(moves).float().cpu().numpy(),
        broadcast_error=broadcast_errors(layer, outcome),
        **alignment_fields(moves, outcome.start.ranks, p, layer.rank),
        step_error=relative(error.step, error.ideal),
    )


def without_global_model(record: LayerRecord) -> LayerRecord:
    """The record where the server holds no model of its own: nothing that a rule could lose, no errors."""
    nan = float("nan")
    return replace(
        record,
        aggregation_error=nan,
        relative_error=nan,
        averaging_error=nan,
        truncation_error=nan,
        step_error=nan,
        broadcast_error=np.full_like(record.broadcast_error, nan),
    )


def first_numbers(values: Tensor, count: int) -> np.ndarray:
    """The first `count` values, zeros where there are fewer."""
    head = values[:count].float().cpu().numpy()
    return np.pad(head, (0, count - len(head)))


def broadcast_errors(layer: ServerLayer, outcome: LayerOutcome) -> np.ndarray:
    """(C,) what each client's rank cannot hold of the new aggregate."""
    ranks = outcome.start.ranks
    kept = outcome.aggregate.offset is not None
    error = {
        rank: diagnostics.broadcast_error(
            outcome.aggregate, rank, layer.initial(rank, 0).offset if kept else None, outcome.merged
        )
        for rank in set(ranks)
    }
    return np.array([error[rank] for rank in ranks], dtype=np.float32)


def alignment_fields(moves: Stack, ranks: tuple[int, ...], p: Tensor, server_rank: int) -> dict[str, Any]:
    """Overlaps, angles and cosines between the movements of up to MOST_PAIRED clients, and to the mean movement."""
    M = min(len(ranks), MOST_PAIRED)
    some = Stack(moves.A[:M], moves.B[:M], moves.ranks[:M])
    mean = low_rank.compact(moves.concatenate(p))
    own = diagnostics.bases(some, torch.tensor(ranks[:M]))
    common = diagnostics.bases(Stack(mean.A[None], mean.B[None], (mean.rank,)), torch.tensor([server_rank]))
    d_out, d_in = moves.B.shape[1], moves.A.shape[2]
    columns = diagnostics.overlap(own.U, own.U, own.sizes, own.sizes)
    rows = diagnostics.overlap(own.V, own.V, own.sizes, own.sizes)
    chance = (
        diagnostics.chance_overlap(own.sizes, own.sizes, d_out) + diagnostics.chance_overlap(own.sizes, own.sizes, d_in)
    ) / 2
    cosine = diagnostics.cosines(some)
    arrays = {
        "cosines": cosine,
        "overlap_columns": columns,
        "overlap_rows": rows,
        "overlap_chance": chance,
        "angles": diagnostics.mean_angles(own.U, own.U, own.sizes, own.sizes),
        "overlap_columns_global": diagnostics.overlap(own.U, common.U, own.sizes, common.sizes)[:, 0],
        "overlap_rows_global": diagnostics.overlap(own.V, common.V, own.sizes, common.sizes)[:, 0],
        "angles_global": diagnostics.mean_angles(own.U, common.U, own.sizes, common.sizes)[:, 0],
    }
    return {
        "alignment": mean_of_pairs((columns + rows) / 2),
        "chance": mean_of_pairs(chance),
        "cosine": mean_of_pairs(cosine),
        **{name: array.float().cpu().numpy() for name, array in arrays.items()},
    }


def mean_of_pairs(matrix: Tensor) -> float:
    """Mean over pairs of different clients, NaN pairs left out; NaN where there is no pair."""
    above = torch.triu(torch.ones_like(matrix), 1).bool()
    return float(matrix[above].nanmean())


@dataclass(frozen=True)
class Costs:
    """What a round took: what was sent, the samples that went forward through the model, seconds."""

    traffic: Traffic
    forwards: int
    seconds: float


def client_columns(context: RoundContext, scores: ClientScores) -> dict[str, Any]:
    """Everything that is known of each client of a round, (C, ...) by name."""
    server, clients = context.server, context.clients
    return {
        "id": np.array(server.ids),
        "rank": np.array(server.budgets),
        "samples": server.counts.long(),
        "weight": context.weights,
        "accuracy": scores.accuracy,
        "loss": scores.loss,
        "personal_accuracy": scores.personal_accuracy,
        "train_loss": mean_losses(clients.trained.losses),
        "correction_ratio": clients.correction_ratio,
        **clients.columns,
        **server.columns,
        **context.log.columns,
    }


def mean_losses(losses: Tensor) -> Tensor:
    """(C,) each client's mean loss over its steps (C, T); NaN where nobody took a step."""
    return losses.nanmean(1) if losses.shape[1] else torch.full((len(losses),), float("nan"))


def round_record(
    *,
    context: RoundContext,
    server_scores: ServerScores,
    scores: ClientScores,
    findings: Findings,
    moved_without_learning: float,
    layers: dict[str, LayerRecord],
    outcomes: dict[str, LayerOutcome],
    costs: Costs,
    snapshot: dict[str, np.ndarray],
) -> Round:
    """The whole record of a round."""
    server, p, log = context.server, context.weights, context.log
    columns = client_columns(context, scores)
    return Round(
        index=server.index,
        accuracy=server_scores.accuracy,
        loss=server_scores.loss,
        train_loss=float((p.cpu() * columns["train_loss"].cpu()).sum()),
        **over_layers(list(layers.values())),
        moved_without_learning=moved_without_learning,
        correction_ratio=float(context.clients.correction_ratio.mean()),
        **costs.traffic._asdict(),
        seconds=costs.seconds,
        forwards=costs.forwards,
        peak_megabytes=peak_megabytes(server.setting.device),
        personal_accuracy=float((server.counts * scores.personal_accuracy.to(server.counts)).sum() / server.counts.sum()),
        scores=server_scores.scores | findings.scores | log.scores,
        clients={name: np.asarray(column.cpu() if isinstance(column, Tensor) else column) for name, column in columns.items()},
        layers=layers,
        factors=kept_factors(outcomes),
        pictures={name: np.asarray(tensor.cpu()) for name, tensor in {**log.pictures, **findings.pictures}.items()},
        snapshot=snapshot,
    )


def over_layers(records: Sequence[LayerRecord]) -> dict[str, Any]:
    """What a round's record says of all layers at once: errors relative to the length of the ideal update, else the mean."""
    ideal = sqrt(sum(record.ideal_norm**2 for record in records))
    whole = {"aggregation_error": relative(sqrt(sum(record.aggregation_error**2 for record in records)), ideal)}
    for name in ("averaging_error", "truncation_error", "step_error"):
        lengths = [getattr(record, name) * record.ideal_norm for record in records if record.ideal_norm]
        whole[name] = relative(sqrt(sum(own**2 for own in lengths)), ideal)
    for name in ("alignment", "chance", "drift", "cosine", "effective_rank", "energy_share"):
        values = [getattr(record, name) for record in records]
        whole[name] = float("nan") if np.isnan(values).all() else float(np.nanmean(values))
    return whole


def kept_factors(outcomes: dict[str, LayerOutcome]) -> dict[str, np.ndarray]:
    """The factors that the first MOST_PAIRED clients received and trained, the server's new ones, and its whole update."""
    kept = {}
    for name, outcome in outcomes.items():
        for stage, stack in (("start", outcome.start), ("trained", outcome.trained)):
            kept[f"{name}/{stage}/A"], kept[f"{name}/{stage}/B"] = stack.A[:MOST_PAIRED], stack.B[:MOST_PAIRED]
        server = outcome.aggregate.server_factors.truncate(outcome.start.A.shape[1])
        kept[f"{name}/server/A"], kept[f"{name}/server/B"] = server.A, server.B
        U, S, V = outcome.whole
        count = max(1, min(2 * len(server.A), int((1e-6 * S[0] < S).sum())))
        kept[f"{name}/whole/A"], kept[f"{name}/whole/B"] = V[:, :count].T, U[:, :count] * S[:count]
    return {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in kept.items()}

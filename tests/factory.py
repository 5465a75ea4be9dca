"""Rounds and facts that look like a real run's, made from random factors in milliseconds, for tests of what only looks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ilora.experiment import Experiment
from ilora.lab.dashboard.views.rewards import variants
from ilora.lab.runs.leases import end
from ilora.lab.runs.store import Store
from ilora.records import LayerRecord, Round, RunFacts
from ilora.simulation.calibration import calibration_record

LAYERS = tuple(f"vit.encoder.layer.{block}.attention.attention.{name}" for block in range(2) for name in ("query", "value"))
RANKS = (2, 4, 8, 16)


def make_facts(ranks: tuple[int, ...] = RANKS, seed: int = 0) -> RunFacts:
    draw = np.random.default_rng(seed)
    counts = draw.integers(0, 60, (len(ranks), 10))
    counts[:, 0] += 1
    return RunFacts(
        clients=len(ranks),
        ranks=np.array(ranks),
        samples=counts.sum(1),
        class_counts=counts,
        classes=tuple("0123456789"),
        layers=LAYERS,
        shapes=((64, 64),) * len(LAYERS),
        device="cpu",
        precision="float32",
        threads=1,
        test_samples=360,
        backbone_parameters=200_000,
        adapter_parameters=np.array(ranks) * 128 * len(LAYERS),
        head_parameters=650,
    )


def make_layer(clients: int, draw: np.random.Generator, **changes: object) -> LayerRecord:
    overlap = draw.uniform(0.1, 0.9, (clients, clients))
    overlap = (overlap + overlap.T) / 2
    np.fill_diagonal(overlap, 1.0)
    spectrum = np.sort(draw.exponential(1.0, 16))[::-1]
    values = {
        "aggregation_error": 0.2, "relative_error": 0.12, "averaging_error": 0.1, "truncation_error": 0.05, "update_norm": 1.7,
        "ideal_norm": 1.8, "weight_norm": 8.0, "drift": 0.8, "cosine": 0.3, "alignment": 0.45, "chance": 0.12,
        "effective_rank": 6.2, "effective_rank_ideal": 9.1, "energy_share": 0.7, "energy_share_ideal": 0.5,
        "singular_values": spectrum * 0.9, "singular_values_ideal": spectrum, "coverage": np.linspace(1, 0.1, 16),
        "drift_clients": draw.uniform(0.4, 1.6, clients),
        "movement_norm": draw.uniform(0.5, 2, clients), "broadcast_error": draw.uniform(0, 0.6, clients),
        "cosines": overlap * 2 - 1, "overlap_columns": overlap, "overlap_rows": overlap**2,
        "overlap_chance": np.full((clients, clients), 0.12), "angles": np.degrees(np.arccos(overlap)),
        "overlap_columns_global": draw.uniform(0.3, 0.9, clients), "overlap_rows_global": draw.uniform(0.3, 0.9, clients),
        "angles_global": draw.uniform(20, 80, clients),
    }  # fmt: skip
    return LayerRecord(**(values | changes))  # type: ignore[arg-type]


def make_round(index: int = 1, ranks: tuple[int, ...] = RANKS, seed: int = 0, **changes: object) -> Round:
    draw = np.random.default_rng((seed, index))
    clients = len(ranks)
    values = {
        "accuracy": 1 - 0.8 / index**0.5, "loss": 2.2 / index, "train_loss": 1.8 / index, "aggregation_error": 0.12,
        "averaging_error": 0.1, "truncation_error": 0.05, "alignment": 0.45, "chance": 0.12, "drift": 0.8, "cosine": 0.3,
        "effective_rank": 6.2, "energy_share": 0.7, "moved_without_learning": 0.0, "correction_ratio": 0.2, "floats_up": 50_000,
        "floats_down": 60_000, "bytes_up": 200_000, "bytes_down": 240_000, "forwards": 2_700,
        "seconds": 0.8,
    }  # fmt: skip
    samples = draw.integers(20, 300, clients)
    table = {
        "id": np.arange(clients), "rank": np.array(ranks), "samples": samples, "weight": samples / samples.sum(),
        "accuracy": draw.uniform(0.3, 0.8, clients), "loss": draw.uniform(0.5, 2, clients),
        "personal_accuracy": draw.uniform(0.6, 1, clients), "train_loss": draw.uniform(0.1, 1, clients),
        "correction_ratio": draw.uniform(0, 0.4, clients),
    }  # fmt: skip
    layers = {layer: make_layer(clients, draw) for layer in LAYERS}
    factors = make_factors(ranks, draw)
    return Round(index=index, **({**values, "clients": table, "layers": layers, "factors": factors} | changes))


def make_calibration_round(members: int = 4, who: str = "clients", seed: int = 0) -> tuple[Round, torch.Tensor, torch.Tensor]:
    """A round that keeps what `members` models said of 90 samples, with their logits and the labels."""
    draw = torch.Generator().manual_seed(seed)
    logits, labels = 2 * torch.randn(members, 90, 10, generator=draw), torch.randint(10, (90,), generator=draw)
    scores, pictures = calibration_record(who, logits, labels)
    scores |= calibration_record("server", logits[:1], labels)[0]
    pictures |= calibration_record("server", logits[:1], labels)[1]
    kept = {name: tensor.numpy() for name, tensor in pictures.items()}
    return make_round(3, scores=scores, pictures=kept), logits, labels


def make_factors(ranks: tuple[int, ...], draw: np.random.Generator, dimension: int = 24) -> dict[str, np.ndarray]:
    """Random factors of every layer as a round keeps them, zeros in the slots that a client lacks."""
    most, kept = max(ranks), {}
    owned = (np.arange(most)[None, :] < np.array(ranks)[:, None]).astype(np.float32)
    for layer in LAYERS:
        for when in ("start", "trained"):
            kept[f"{layer}/{when}/A"] = draw.normal(size=(len(ranks), most, dimension)).astype(np.float32) * owned[:, :, None]
            kept[f"{layer}/{when}/B"] = draw.normal(size=(len(ranks), dimension, most)).astype(np.float32) * owned[:, None, :]
        for what in ("server", "whole"):
            kept[f"{layer}/{what}/A"] = draw.normal(size=(most, dimension)).astype(np.float32)
            kept[f"{layer}/{what}/B"] = draw.normal(size=(dimension, most)).astype(np.float32)
    return kept


def make_history(rounds: int = 5, ranks: tuple[int, ...] = RANKS, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame([make_round(t, ranks, seed).metrics() for t in range(1, rounds + 1)])


def store_run(
    store: Store,
    experiment: Experiment | None = None,
    done: int = 3,
    status: str = "finished",
    error: str = "",
    scores: dict[str, float] | None = None,
    **changes: object,
) -> str:
    """A run in the store with `done` finished rounds, as a worker would have left it; `changes` are of every round."""
    experiment = experiment or Experiment(rounds=done)
    ranks = experiment.client_ranks
    run_id = store.add(experiment, worker="test")
    store.save_facts(run_id, make_facts(ranks, experiment.seed))
    for index in range(1, done + 1):
        record = make_round(index, ranks, experiment.seed, snapshot={"x": np.zeros(1)}, scores=scores or {}, **changes)
        assert store.save_round(run_id, record, "test")
    if status != "running":
        end(store, run_id, "test", status, error)
    return run_id


def rewarded(index: int = 1, alpha: float = 0.5, entropy: float = 1.0) -> Round:
    """A round as AER and MoR leave it."""
    record = make_round(index)
    C = len(record.clients["id"])
    grid = np.full((C, 3, 3), np.nan)
    grid[:, 0, 0], grid[:, 1, 2] = [0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]
    groups = np.zeros((C, 9))
    groups[:, 0], groups[:, 8] = 3, 5
    more = {
        "entropy": np.full(C, entropy), "entropy_target": np.full(C, 0.9), "alpha": np.full(C, alpha), "pass_1": np.full(C, 0.4),
        "pass_8": np.full(C, 0.8), "group_correct": groups, "trust": np.array([0.4, 0.3, 0.2, 0.1]), "trust_map": grid,
        "reward_accuracy": np.array([0.3, 0.6, 0.2, 0.1]), "fused_accuracy": np.full(C, 0.75),
    }  # fmt: skip
    return replace(record, clients=record.clients | more)


def store_variants(store: Store, kind: str, done: int = 2, page: str = "rewards") -> None:
    """Runs of every variant of a kind of learning from rewards, as the page starts them."""
    for name, experiment in variants(Experiment(rounds=done, ranks="spread", clients=4), kind).items():
        run_id = store.add(experiment, name, group=f"{page}-{kind}-abc", worker="test")
        store.save_facts(run_id, make_facts(experiment.client_ranks))
        for index in range(1, done + 1):
            store.save_round(run_id, replace(rewarded(index), snapshot={"x": np.zeros(1)}), "test")
        end(store, run_id, "test", "finished", "")

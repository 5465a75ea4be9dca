"""The round loop: broadcast, local training, upload, aggregation, server step, evaluation, diagnosis."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ilora import products
from ilora.adapters import Stack
from ilora.aggregation import Aggregate, Upload
from ilora.engines import make_engine
from ilora.evaluation import ClientScores, score_clients, score_server
from ilora.experiment import Experiment
from ilora.partition import class_counts, partition
from ilora.plan import batch_plan, fresh_head, gradient_weights, participants
from ilora.randomness import numpy_generator
from ilora.recording import LayerOutcome, layer_record, round_record
from ilora.records import Round, RunFacts
from ilora.server import ServerLayer
from ilora.snapshot import Snapshot, pack, restore
from ilora.stacked import Base, Parameters
from ilora.tasks import load_task
from ilora.tasks.linears import find_linears
from ilora.training import LocalWork, Trained, correction_ratio

if TYPE_CHECKING:
    import pandas as pd


class Simulation:
    """One experiment in the making: `next_round()` trains one round; `facts` says what is fixed for the run.

    With the `snapshot` of an earlier round it goes on from there, to the same numbers.
    """

    def __init__(self, experiment: Experiment, snapshot: Snapshot | None = None) -> None:
        self.experiment = experiment
        self.recipe = experiment.recipe
        self.device = pick_device(experiment.device)
        self.ranks = experiment.client_ranks
        self.rank = max(self.ranks)
        self.index = 0
        self.moved_without_learning = 0.0
        task = load_task(experiment.task)
        self.task = task
        self.train, self.test = task.train.to(self.device), task.test.to(self.device)
        self.shares = partition(
            task.train.labels.numpy(),
            len(self.ranks),
            experiment.skew,
            alpha=experiment.alpha,
            shards=experiment.shards,
            seed=experiment.seed,
        )
        backbone = task.load_backbone()
        model = backbone.model.to(self.device)
        linears = find_linears(model, experiment.targets, backbone.head)
        head = {
            f"head.{part}.{name}": tensor
            for part in backbone.head
            for name, tensor in model.get_submodule(part).named_parameters()
        }
        self.head = fresh_head(head, experiment.seed)
        self.layers = {
            name: ServerLayer(name, linear.weight.detach(), self.rank, experiment.seed, self.recipe)
            for name, linear in linears.items()
        }
        self.engine = make_engine(experiment.engine, model, linears, backbone.head, self.train)
        correction, options = self.recipe.load("correction")
        self.correction = correction(len(self.ranks), **options)
        self.backbone_parameters = sum(p.numel() for p in model.parameters())
        if snapshot is not None:
            restore(self, snapshot)

    @cached_property
    def facts(self) -> RunFacts:
        """What is fixed for the run: who holds what, and on what it runs."""
        labels, classes = self.task.train.labels.numpy(), self.task.card.classes
        widths = sum(sum(layer.weight.shape) for layer in self.layers.values())
        return RunFacts(
            clients=len(self.ranks),
            ranks=np.array(self.ranks),
            samples=np.array([len(share) for share in self.shares]),
            class_counts=class_counts(labels, self.shares, len(classes)),
            classes=classes,
            layers=tuple(self.layers),
            shapes=tuple((layer.weight.shape[0], layer.weight.shape[1]) for layer in self.layers.values()),
            device=self.device,
            precision=self.experiment.precision,
            threads=torch.get_num_threads(),
            test_samples=len(self.test),
            backbone_parameters=self.backbone_parameters,
            adapter_parameters=np.array(self.ranks) * widths,
            head_parameters=sum(tensor.numel() for tensor in self.head.values()),
        )

    def next_round(self, on_step: Callable[[float], None] | None = None) -> Round:
        """Train, aggregate, evaluate and diagnose one round; `on_step` hears the fraction done, 0..1, and may raise to stop."""
        tell = on_step or (lambda fraction: None)
        began = time.perf_counter()
        index = self.index + 1
        ids = participants(len(self.ranks), self.experiment.participation, self.experiment.seed, index)
        start, base, stacks = self.broadcast(ids, index)
        weighting, own = self.recipe.load("weighting")
        p = weighting(self._floats([len(self.shares[k]) for k in ids]), **own)
        work = self.local_work(ids, index, start, base)
        tell(0.1)
        trained = self.engine.train(work, lambda done, steps: tell(0.1 + 0.7 * done / steps))
        ids_ranks = tuple(self.ranks[k] for k in ids)
        outcomes = {name: self._aggregate(name, stacks[name], trained.parameters, ids_ranks, base, p) for name in self.layers}
        if index == 1:
            self.moved_without_learning = self._moved_by_standing_still(stacks, start, ids_ranks, base, p)
        for name, outcome in outcomes.items():
            self.layers[name].take(outcome.aggregate)
        self.head = {name: torch.einsum("k,k...->...", p, trained.parameters[name]) for name in self.head}
        self.index = index
        tell(0.85)
        scores = self._score(ids, trained, base)
        server = self._server()
        return round_record(
            index=index,
            server_scores=score_server(self.engine, *server, self.test),
            scores=scores,
            p=p,
            trained=trained,
            correction_ratio=correction_ratio(work.correction, trained),
            moved_without_learning=self.moved_without_learning,
            ids=ids,
            ranks=ids_ranks,
            samples=[len(self.shares[k]) for k in ids],
            layers={name: layer_record(self.layers[name], outcome, p, min(self.ranks)) for name, outcome in outcomes.items()},
            outcomes=outcomes,
            floats=self._floats_sent(outcomes, ids_ranks),
            snapshot=pack(self),
            seconds=time.perf_counter() - began,
        )

    def broadcast(self, ids: list[int], index: int) -> tuple[Parameters, Base, dict[str, Stack]]:
        """What these clients receive: their parameters, the base beneath, and per layer their factors as a stack."""
        ranks = tuple(self.ranks[k] if k >= 0 else self.rank for k in ids)
        stacks, offsets, parameters = {}, {}, {}
        for name, layer in self.layers.items():
            starts = layer.starts(ids, ranks, index)
            stacks[name] = Stack.of([start.factors for start in starts], self.rank)
            if starts[0].offset is not None:
                offsets[name] = Stack.of([start.offset for start in starts if start.offset is not None], self.rank)
            parameters[f"{name}.A"], parameters[f"{name}.B"] = stacks[name].A, stacks[name].B
        parameters |= {name: tensor.expand(len(ids), *tensor.shape) for name, tensor in self.head.items()}
        merged = {name: layer.merged for name, layer in self.layers.items() if layer.merged is not None}
        return parameters, Base(ranks, self._floats([self.recipe.scaling(rank) for rank in ranks]), merged, offsets), stacks

    def adapter(self, rank: int) -> "Adapter":
        """What a client of `rank` would receive now, as an adapter for peft. ValueError for a rank the server cannot serve."""
        from ilora.peft_export import Adapter, exact_factors

        if not 1 <= rank <= self.rank:
            raise ValueError(f"rank is {rank}; allowed is a whole number from 1 to {self.rank}, the server's rank.")
        factors = {}
        for name, layer in self.layers.items():
            (start,) = layer.starts([-1], [rank], self.index)
            factors[name] = exact_factors(start.factors, self.recipe.scaling(rank), start.offset, layer.merged)
        return Adapter(self.task.load_backbone().model, factors, self.head, adapter_card(self.experiment, rank, self.index))

    def _server(self) -> tuple[Parameters, Base]:
        """The server's own model, as if it were a client of the largest rank."""
        parameters, base, _ = self.broadcast([-1], self.index)
        return parameters, base

    def local_work(self, ids: list[int], index: int, start: Parameters, base: Base) -> LocalWork:
        """What these clients do in round `index`; the correction's memory moves on with it."""
        e = self.experiment
        objective, _ = self.recipe.load("objective")
        shared, own = self.recipe.load("sharing")
        slots = shared(tuple(self.ranks[k] for k in ids), self.rank, index, **own)
        owned = self._per_parameter(start, slots.A, slots.B)
        correction = self.correction.begin(ids, owned, lambda scale: self._full_gradient(ids, start, base, scale))
        batches = np.stack(
            [batch_plan(self.shares[k], e.local_steps, e.batch_size, numpy_generator(e.seed, "batches", index, k)) for k in ids]
        )
        return LocalWork(start, base, torch.from_numpy(batches).to(self.device), e.optimizer, e.lr, objective, correction, owned)

    def _per_parameter(self, start: Parameters, A: Tensor, B: Tensor) -> Parameters:
        """Slot masks (K, R) spread over the parameters: rows of A, columns of B, everything of the head."""
        masks = {}
        for name, tensor in start.items():
            mask = (
                A[:, :, None]
                if name.endswith(".A")
                else B[:, None, :]
                if name.endswith(".B")
                else torch.ones(len(A), *tensor.shape[1:])
            )
            masks[name] = mask.to(tensor)
        return masks

    def _full_gradient(self, ids: list[int], start: Parameters, base: Base, scale: str) -> Parameters:
        """Each client's gradient over all its samples, "scaffold": their mean; "official": batch means summed, over n_k."""
        samples = [torch.from_numpy(self.shares[k]).to(self.device) for k in ids]
        weights = [gradient_weights(len(share), self.experiment.batch_size, scale).to(self.device) for share in samples]
        return self.engine.gradient(start, base, samples, weights)

    def _aggregate(
        self, name: str, start: Stack, trained: Parameters, ranks: tuple[int, ...], base: Base, p: Tensor
    ) -> "LayerOutcome":  # fmt: skip
        layer = self.layers[name]
        sent_from, own = self.recipe.load("upload")
        sent = sent_from(start, Stack(trained[f"{name}.A"], trained[f"{name}.B"], ranks), **own)
        offset = base.offsets.get(name)
        server_offset = layer.initial(self.rank, self.index).offset if offset is not None else None
        upload = Upload(start, sent, p, self.recipe.scaling, self.rank, offset, server_offset)
        rule, own = self.recipe.load("aggregate")
        step, step_own = self.recipe.load("server")
        aggregate: Aggregate = step(rule(upload, **own), **step_own)
        return LayerOutcome(start, sent, base.scales, aggregate, layer.merged_factors())

    def _moved_by_standing_still(
        self, stacks: dict[str, Stack], start: Parameters, ranks: tuple[int, ...], base: Base, p: Tensor
    ) -> float:  # fmt: skip
        """||W_1 - theta_0|| / ||theta_0|| if no client learned anything: what the start and the bookkeeping alone do."""
        moved = weight = 0.0
        for name, layer in self.layers.items():
            outcome = self._aggregate(name, stacks[name], start, ranks, base, p)
            moved += products.norm(outcome.aggregate.held()) ** 2
            weight += float(torch.linalg.matrix_norm(layer.weight)) ** 2
        return sqrt(moved / weight)

    def _score(self, ids: list[int], trained: Trained, base: Base) -> ClientScores:
        counts = torch.from_numpy(self.facts.class_counts[ids]).to(self.device)
        return score_clients(self.engine, trained.parameters, base, self.test, counts)

    def _floats_sent(self, outcomes: dict[str, "LayerOutcome"], ranks: tuple[int, ...]) -> tuple[int, int]:
        """Numbers sent up by, and down to, the clients of a round: adapters and heads, and what a correction adds."""
        head = sum(tensor.numel() for tensor in self.head.values()) * len(ranks)
        widths = sum(sum(layer.weight.shape) for layer in self.layers.values())
        adapters = widths * sum(ranks)
        merged = [
            o.aggregate.bank.rank * sum(self.layers[n].weight.shape) * len(ranks)
            for n, o in outcomes.items()
            if o.aggregate.merge
        ]
        factor = 1 + self.correction.extra_floats
        return (adapters + head) * factor, ((sum(merged) if merged else adapters) + head) * factor

    def _floats(self, values: list[float] | list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def adapter_card(experiment: Experiment, rank: int, rounds: int) -> str:
    """The text that is saved beside an adapter: where it comes from, in full."""
    return (
        f"# Adapter trained by {experiment.method} on {experiment.task}\n\n"
        f"Federated LoRA, as a client of rank {rank} receives it after {rounds} rounds. It holds the exact difference to the"
        " backbone, so its rank can be larger where the method moved the base.\n\n"
        f"The whole experiment:\n\n```json\n{experiment.to_json()}\n```\n"
    )


def simulate(experiment: Experiment, snapshot: Snapshot | None = None) -> Iterator[Round]:
    """Train round after round and yield each; from `snapshot`, the rounds that are left."""
    simulation = Simulation(experiment, snapshot)
    while simulation.index < experiment.rounds:
        yield simulation.next_round()


@dataclass(frozen=True)
class Result:
    """A finished run: its rounds, their metrics as a table, and the server's adapters."""

    experiment: Experiment
    rounds: list[Round]
    simulation: Simulation

    @property
    def history(self) -> "pd.DataFrame":
        """One row per round, one column per metric."""
        import pandas as pd

        return pd.DataFrame([round.metrics() for round in self.rounds]).set_index("index")

    def adapter(self, rank: int | None = None) -> "Adapter":
        """What a client of `rank` (the server's by default) receives after the last round, for peft."""
        return self.simulation.adapter(self.simulation.rank if rank is None else rank)


def run(experiment: Experiment) -> Result:
    """Train all rounds of an experiment in this process."""
    simulation = Simulation(experiment)
    rounds = [simulation.next_round() for _ in range(experiment.rounds)]
    return Result(experiment, rounds, simulation)


def pick_device(wish: str) -> str:
    """The device to run on; "auto" takes cuda, then mps, then cpu. ValueError for one that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wish == "auto":
        return next(device for device, available in there.items() if available)
    if not there[wish]:
        raise ValueError(f"device is {wish!r}; allowed here: {', '.join(['auto', *(d for d, ok in there.items() if ok)])}.")
    return wish

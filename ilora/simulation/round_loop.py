"""The round loop: broadcast, local training, upload, aggregation, server step, evaluation, diagnosis."""

import copy
import time
from collections.abc import Callable
from dataclasses import astuple, replace
from functools import cached_property, partial
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ilora.clients.data import load_client_data
from ilora.clients.sampling import client_batches, client_draws, fresh_head, participants, steps_of
from ilora.experiment import Experiment
from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate, Upload
from ilora.lora.factors import Stack
from ilora.methods.ingredients import STAGES
from ilora.randomness import numpy_generator
from ilora.records import LayerRecord, Round, RunFacts
from ilora.simulation import communication
from ilora.simulation.evaluation import Findings, examine_clients, examine_server
from ilora.simulation.recording import LayerOutcome, layer_record, round_record, without_global_model
from ilora.simulation.server import ServerLayer, Snapshot, pack, restore
from ilora.stages.context import RunSetting, Traffic, Turn
from ilora.stages.initialise import Start
from ilora.tasks import load_task
from ilora.tasks.linears import check_rank, find_linears
from ilora.tasks.peft_import import merge_adapter
from ilora.training.client_model import Base, Parameters
from ilora.training.engine import make_engine
from ilora.training.hardware import forget_peak, pick_device, products_in
from ilora.training.local_work import LocalWork, Trained
from ilora.training.vectorised import correction_ratio


class Learned(NamedTuple):
    """One member's round, before its server takes what became of it."""

    turn: Turn
    sent: Parameters
    p: Tensor
    outcomes: dict[str, LayerOutcome]
    traffic: Traffic
    correction_ratio: Tensor


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
        task = load_task(experiment.task, experiment.backbone, experiment.data)
        self.task = task
        self.client_data = load_client_data(task, experiment, self.device)
        self.train, self.test, self.shares = self.client_data.train, self.client_data.test, self.client_data.shares
        backbone = task.load_backbone()
        self.merged_at_first = merge_adapter(experiment.adapter, backbone)
        model = backbone.model.to(self.device)
        linears = find_linears(model, experiment.targets, backbone.head)
        check_rank(self.rank, linears)
        head = {
            f"head.{part}.{name}": tensor
            for part in backbone.head
            for name, tensor in model.get_submodule(part).named_parameters()
        }
        self.head = fresh_head(head, experiment.seed) | {
            name: tensor.to(self.device) for name, tensor in self.merged_at_first.head.items()
        }
        self.layers = {
            name: ServerLayer(name, linear.weight.detach(), self.rank, experiment.seed, self.recipe)
            for name, linear in linears.items()
        }
        self.engine = make_engine(experiment.engine, model, linears, backbone.head, self.train, experiment.precision)
        self.setting = RunSetting(
            seed=experiment.seed,
            ranks=self.ranks,
            samples=tuple(len(share) for share in self.shares),
            scaling=self.recipe.scaling,
            shapes={name: (layer.weight.shape[0], layer.weight.shape[1]) for name, layer in self.layers.items()},
            local_steps=max(map(self._steps_of, range(len(self.ranks)))),
            batch_size=experiment.batch_size,
            device=self.device,
            classes=len(task.card.classes),
            weight_norms={name: float(torch.linalg.matrix_norm(layer.weight)) for name, layer in self.layers.items()},
        )
        self.stages = {stage: self.recipe.make(stage, self.setting) for stage in STAGES}
        self.backbone_parameters = sum(p.numel() for p in model.parameters())
        self.members = [self, *(self._member(i) for i in range(1, self.recipe.members))]
        if snapshot is not None:
            restore(self, snapshot)

    def _member(self, i: int) -> "Simulation":
        """Member i > 0: the same clients, data and backbone, with first factors and a head of its own draw, and a server."""
        member, seed = copy.copy(self), int(numpy_generator(self.experiment.seed, "member", i).integers(2**31))
        member.head = fresh_head(self.head, seed)
        member.layers = {name: replace(layer, seed=seed) for name, layer in self.layers.items()}
        member.stages = {stage: self.recipe.make(stage, self.setting) for stage in STAGES}
        member.members = [member]
        return member

    @cached_property
    def facts(self) -> RunFacts:
        """What is fixed for the run: who holds what, and on what it runs."""
        return run_facts(self)

    def next_round(self, on_step: Callable[[float], None] | None = None) -> Round:
        """Train, aggregate, evaluate and diagnose one round; `on_step` hears the fraction done, 0..1, and may raise to stop."""
        tell, began, N = on_step or (lambda fraction: None), time.perf_counter(), len(self.members)
        forget_peak(self.device)
        done = []
        for i, member in enumerate(self.members):
            done.append(member._learn(partial(_tell_part, tell, 0.85 * i / N, 0.85 / N)))
        first, turns, findings = done[0], [part.turn for part in done], Findings()
        first.turn.forwards = sum(turn.forwards for turn in turns)
        scores = examine_clients(self, turns, findings)
        for member, part in zip(self.members, done, strict=True):
            member._close_turn(part)
        return round_record(
            turn=first.turn,
            p=first.p,
            server_scores=examine_server(self, scores, first.p, findings),
            scores=scores,
            findings=findings,
            correction_ratio=first.correction_ratio,
            moved_without_learning=self.moved_without_learning,
            layers={name: self._layer_record(name, outcome, first.p) for name, outcome in first.outcomes.items()},
            outcomes=first.outcomes,
            sent=Traffic(*(sum(numbers) for numbers in zip(*(part.traffic for part in done), strict=True))),
            snapshot=pack(self),
            seconds=time.perf_counter() - began,
        )

    def _learn(self, tell: Callable[[float], None]) -> Learned:
        """One member's round up to what its server will hold; `tell` hears the fraction done."""
        turn = self.open_turn(self.index + 1)
        turn.shared = self.stages["sharing"](turn)
        work = self.local_work(turn)
        tell(0.1)
        turn.forwards += (
            (1 + getattr(self.stages["objective"], "extra_forwards", 0)) * sum(work.own_steps) * work.batches.shape[2]
        )
        with products_in(self.experiment.precision):
            turn.trained = self._train(turn, work, lambda fraction: tell(0.1 + 0.8 * fraction))
        sent = self.stages["upload"](turn)
        p = self.stages["weighting"](turn)
        if turn.index == 1:
            self.moved_without_learning = self._moved_by_standing_still(turn, p)
        outcomes = {layer: self._aggregate(turn, layer, sent, p) for layer in self.layers}
        tell(1.0)
        return Learned(turn, sent, p, outcomes, self._traffic(turn, outcomes), correction_ratio(work.correction, turn.trained))

    def open_turn(self, index: int) -> Turn:
        """Draw the clients of round `index` and broadcast to them."""
        e = self.experiment
        ids = participants(len(self.ranks), e.participation, e.seed, index, e.left_out)
        start, base = self.broadcast(ids, index)
        samples = [torch.from_numpy(self.shares[k]).to(self.device) for k in ids]
        budgets = tuple(self.ranks[k] for k in ids)
        return Turn(index, self.setting, ids, base.ranks, samples, start, base, self.engine, self.server, budgets)

    def broadcast(self, ids: list[int], index: int) -> tuple[Parameters, Base]:
        """What these clients receive: their parameters, and the base beneath."""
        ranks = tuple(self.rank if self.recipe.whole else self.ranks[k] for k in ids)
        return self._deliver({name: layer.starts(ids, ranks, index) for name, layer in self.layers.items()}, ranks)

    def server(self) -> tuple[Parameters, Base]:
        """The server's own model, as if it were one client."""
        return self._deliver({name: [layer.own(self.index)] for name, layer in self.layers.items()}, (self.rank,))

    def _deliver(self, starts: dict[str, list[Start]], ranks: tuple[int, ...]) -> tuple[Parameters, Base]:
        """Stack what each of the models starts from, with the server's head."""
        parameters: Parameters = {}
        offsets: dict[str, Stack] = {}
        for name, own in starts.items():
            parameters[f"{name}.A"], parameters[f"{name}.B"], _ = astuple(Stack.of([start.factors for start in own], self.rank))
            cut_out = [start.offset for start in own if start.offset is not None]
            if cut_out:
                offsets[name] = Stack.of(cut_out, self.rank)
        parameters |= {name: tensor.expand(len(ranks), *tensor.shape) for name, tensor in self.head.items()}
        merged = {name: layer.merged for name, layer in self.layers.items() if layer.merged is not None}
        scales = torch.tensor([self.recipe.scaling(rank) for rank in ranks], dtype=torch.float32, device=self.device)
        return parameters, Base(ranks, scales, merged, offsets)

    def local_work(self, turn: Turn) -> LocalWork:
        """What the turn's clients do; the correction's memory moves on with it."""
        e, shared, objective = self.experiment, turn.sharing, self.stages["objective"]
        scales = turn.owned & False if shared.scales is None else shared.scales
        given = objective.begin(turn) if hasattr(objective, "begin") else {}
        steps = tuple(map(self._steps_of, turn.ids))
        work = LocalWork(
            start=turn.start,
            base=turn.base,
            batches=client_batches(self.shares, turn.ids, steps, e.batch_size, e.seed, turn.index).to(self.device),
            steps=steps,
            draws=client_draws(turn.ids, steps, e.batch_size, e.seed, turn.index).to(self.device) if self.train.augment else None,
            optimizer=e.optimizer,
            lr=e.lr,
            objective=objective,
            given=given,
            correction=self.stages["correction"](turn),
            trainable=turn.spread(shared.train_A, shared.train_B, D=scales),
        )
        for ingredient in self.stages.values():
            if hasattr(ingredient, "prepare"):
                work = ingredient.prepare(turn, work)
        return work

    def _steps_of(self, client: int) -> int:
        e = self.experiment
        return steps_of(len(self.shares[client]), e.batch_size, e.local_steps, e.local_epochs)

    def _train(self, turn: Turn, work: LocalWork, tell: Callable[[float], None]) -> Trained:
        """Local training, in one piece unless an ingredient has a way of its own."""
        whole, before = max(1, sum(work.own_steps)), 0

        def train(part: LocalWork) -> Trained:
            nonlocal before
            done_before = before
            before += sum(part.own_steps)
            return self.engine.train(part, lambda done, of: tell((done_before + done) / whole))

        own_way = [ingredient for ingredient in self.stages.values() if hasattr(ingredient, "train")]
        return own_way[0].train(turn, work, train) if own_way else train(work)

    def _aggregate(self, turn: Turn, layer: str, sent: Parameters, p: Tensor) -> LayerOutcome:
        """One layer's way from the uploads to what the server will hold."""
        made: Aggregate = self.stages["aggregate"](self._received(turn, layer, sent, p))
        kept: Aggregate = self.stages["server"](turn, layer, made)
        start, trained = turn.stack(turn.start, layer), turn.stack(turn.result, layer)
        return LayerOutcome(start, trained, turn.base.scales, made, kept, self.layers[layer].merged_factors())

    def _received(self, turn: Turn, layer: str, sent: Parameters, p: Tensor) -> Upload:
        return self.layers[layer].receive(turn, sent, p, tuple(sorted(set(self.ranks))))

    def _close_turn(self, done: Learned) -> None:
        """The server keeps what was aggregated, and every ingredient learns that the round is over."""
        turn, sent, p = done.turn, done.sent, done.p
        for name, outcome in done.outcomes.items():
            self.layers[name].take(outcome.aggregate)
        if turn.sharing.head:
            head = {name: own + torch.einsum("k,k...->...", p, sent[name] - own) for name, own in self.head.items()}
            server = self.stages["server"]
            self.head = server.head(turn, self.head, head) if hasattr(server, "head") else head
        for ingredient in self.stages.values():
            if hasattr(ingredient, "end"):
                ingredient.end(turn)
        self.ranks = tuple(turn.next_ranks.get(k, rank) for k, rank in enumerate(self.ranks))
        self.index = turn.index

    def _moved_by_standing_still(self, turn: Turn, p: Tensor) -> float:
        """||W_1 - theta_0|| / ||theta_0|| if no client learned anything: what the start and the bookkeeping alone do.

        The server's step is left out: it may remember what it sees.
        """
        still = replace(turn, trained=replace(turn.trained, parameters=turn.start)) if turn.trained else turn
        moved = weight = 0.0
        for name, layer in self.layers.items():
            aggregate: Aggregate = self.stages["aggregate"](self._received(still, name, turn.start, p))
            moved += low_rank.norm(aggregate.update_factors()) ** 2
            weight += float(torch.linalg.matrix_norm(layer.weight)) ** 2
        return sqrt(moved / weight)

    def _layer_record(self, name: str, outcome: LayerOutcome, p: Tensor) -> LayerRecord:
        record = layer_record(self.layers[name], outcome, p, min(self.setting.ranks))
        return without_global_model(record) if self.recipe.personalised else record

    def _traffic(self, turn: Turn, outcomes: dict[str, LayerOutcome]) -> Traffic:
        aggregates = {name: outcome.aggregate for name, outcome in outcomes.items()}
        held = {name: layer.own(turn.index).factors.truncate(self.rank) for name, layer in self.layers.items()}
        return communication.of_turn(
            turn, self.stages, aggregates, held, head=sum(tensor.numel() for tensor in self.head.values())
        )


def _tell_part(tell: Callable[[float], None], before: float, share: float, fraction: float) -> None:
    tell(before + share * fraction)


def run_facts(simulation: "Simulation") -> RunFacts:
    """What is fixed for a run, before its first round."""
    held = simulation.client_data
    widths = sum(sum(layer.weight.shape) for layer in simulation.layers.values())
    return RunFacts(
        clients=len(simulation.ranks),
        ranks=np.array(simulation.setting.ranks),
        samples=np.array([len(share) for share in simulation.shares]),
        class_counts=held.class_counts,
        classes=held.classes,
        layers=tuple(simulation.layers),
        shapes=tuple((layer.weight.shape[0], layer.weight.shape[1]) for layer in simulation.layers.values()),
        device=simulation.device,
        precision=simulation.experiment.precision,
        threads=torch.get_num_threads(),
        test_samples=len(simulation.test),
        backbone_parameters=simulation.backbone_parameters,
        adapter_parameters=np.array(simulation.setting.ranks) * widths,
        head_parameters=sum(tensor.numel() for tensor in simulation.head.values()),
        styles=held.styles,
        noisy=held.noisy,
    )

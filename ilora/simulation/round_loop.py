"""The round loop: broadcast, local training, upload, aggregation, server step, evaluation, diagnosis."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ilora.clients.data import ClientData, load_client_data
from ilora.clients.sampling import fresh_head, participants, steps_of
from ilora.experiment import Experiment
from ilora.methods import Recipe
from ilora.randomness import numpy_generator
from ilora.records import LayerRecord, Round, RunFacts
from ilora.simulation import communication
from ilora.simulation.calibration import images
from ilora.simulation.communication import Traffic
from ilora.simulation.evaluation import (
    ClientScores,
    Findings,
    ServerScores,
    examine_clients,
    examine_server,
    first_samples,
    mean_of_clients,
    own_answers,
)
from ilora.simulation.local_clients import Clients, LocalClients, part_of
from ilora.simulation.recording import Costs, LayerOutcome, layer_outcome, layer_record, round_record, without_global_model
from ilora.simulation.server import Aggregated, Server, Snapshot
from ilora.stages.context import Broadcast, Reply, RoundContext, RoundLog, RunSetting
from ilora.tasks import load_task
from ilora.tasks.backbones import check_rank, find_linears
from ilora.tasks.base import Data, Task
from ilora.tasks.peft_import import Merged, merge_adapter
from ilora.training.client_model import Parameters
from ilora.training.engine import Engine, make_engine
from ilora.training.hardware import forget_peak, pick_device


class LoadedModel(NamedTuple):
    """A frozen backbone, ready to train on: its engine, the weights that carry adapters, the head's parameters."""

    engine: Engine
    weights: dict[str, Tensor]
    head: Parameters
    merged_at_first: Merged
    parameters: int


@dataclass(frozen=True)
class MemberRound:
    """A round of one member of an ensemble, or of the only server, before its server takes it."""

    context: RoundContext
    aggregates: dict[str, Aggregated]
    outcomes: dict[str, LayerOutcome]
    traffic: Traffic
    forwards: int


class Simulation:
    """One experiment in the making: `next_round()` trains one round; `facts` says what is fixed for the run.

    With the `snapshot` of an earlier round it goes on from there, to the same numbers.
    """

    def __init__(self, experiment: Experiment, snapshot: Snapshot | None = None) -> None:
        self.experiment, self.recipe = experiment, experiment.recipe
        self.device = pick_device(experiment.device)
        self.task = load_task(experiment.task, experiment.backbone, experiment.data)
        self.client_data = load_client_data(self.task, experiment, self.device)
        self.model = load_model(experiment, self.task, self.client_data.train, self.device)
        self.setting = run_setting(experiment, self.task, self.client_data, self.model.weights, self.device)
        self.servers = [make_server(self.recipe, self.setting, self.model, i) for i in range(self.recipe.members)]
        samples = {k: torch.from_numpy(share).to(self.device) for k, share in enumerate(self.client_data.shares)}
        self.clients: Clients = LocalClients(self.servers, self.recipe, self.model.engine, samples)
        if snapshot is not None:
            self.restore(snapshot)

    @property
    def server(self) -> Server:
        """The only server, or that of the first member of an ensemble."""
        return self.servers[0]

    @property
    def index(self) -> int:
        """The last round that is done."""
        return self.server.index

    @property
    def engine(self) -> Engine:
        """What trains and answers."""
        return self.model.engine

    @property
    def merged_at_first(self) -> Merged:
        """The adapter that was merged into the backbone before the first round."""
        return self.model.merged_at_first

    @cached_property
    def facts(self) -> RunFacts:
        """What is fixed for the run: who holds what, and on what it runs."""
        return run_facts(self.experiment, self.setting, self.client_data, self.model)

    def next_round(self, on_step: Callable[[float], None] | None = None) -> Round:
        """Train, aggregate, evaluate and diagnose one round; `on_step` hears the fraction done, 0..1, and may raise to stop."""
        tell, began = on_step or (lambda fraction: None), time.perf_counter()
        forget_peak(self.device)
        ids = self._sample_clients()
        broadcasts = [server.broadcast(ids) for server in self.servers]
        replies = self.clients.round(broadcasts, part_of(tell, 0.0, 0.85))
        members = [self._aggregate(i, *both) for i, both in enumerate(zip(broadcasts, replies, strict=True))]
        findings = Findings()
        client_scores = self._evaluate_clients(members, findings)
        for server, member in zip(self.servers, members, strict=True):
            server.update(member.context.server, member.context.weights, member.aggregates)
        first = members[0]
        return round_record(
            context=first.context,
            server_scores=self._evaluate_server(client_scores, first.context.weights, findings),
            scores=client_scores,
            findings=findings,
            moved_without_learning=self.server.moved_without_learning,
            layers={name: self._layer_record(name, first) for name in first.outcomes},
            outcomes=first.outcomes,
            costs=self._costs(members, began),
            snapshot=self.snapshot(),
        )

    def _sample_clients(self) -> list[int]:
        e = self.experiment
        return participants(self.setting.clients, e.participation, e.seed, self.index + 1, e.left_out)

    def _aggregate(self, i: int, broadcast: Broadcast, reply: Reply) -> MemberRound:
        """One member's way from the clients' replies to what its server will hold."""
        server = self.servers[i]
        view, forwards = server.receive(broadcast, reply), reply.observed.forwards
        question = server.questions(view)
        if question:
            answers, passes = self.clients.ask(i, broadcast, question)
            view.answers.update(answers)
            forwards += passes
        p = server.stages.weighting(view)
        context = RoundContext(view, reply.observed, p, RoundLog())
        trained = {layer: view.stack(reply.observed.trained.parameters, layer) for layer in server.layers}
        aggregates = server.aggregate(view, p, trained)
        for stage in server.stages.hooks.values():
            stage.observe(context)
        outcomes = {name: layer_outcome(context, server.layers[name], own) for name, own in aggregates.items()}
        traffic = communication.of_round(
            view,
            server.stages,
            {name: own.kept for name, own in aggregates.items()},
            {name: layer.own(view.index).factors.truncate(server.rank) for name, layer in server.layers.items()},
            head=sum(tensor.numel() for tensor in server.head.values()),
            extra=broadcast.extra,
            asked=bool(question),
        )
        return MemberRound(context, aggregates, outcomes, traffic, forwards)

    def _evaluate_clients(self, members: Sequence[MemberRound], findings: Findings) -> ClientScores:
        ids, card = members[0].context.server.ids, self.task.card
        if self.index == 0:
            findings.pictures |= images(first_samples(self.client_data.test, len(ids)).inputs)
        answer = partial(own_answers, self.server.stages.hooks["sharing"], [member.context.clients.models for member in members])
        return examine_clients(card, self.client_data, self.task.styles, ids, answer, findings)

    def _evaluate_server(self, clients: ClientScores, p: Tensor, findings: Findings) -> ServerScores:
        if self.recipe.personalised:
            return mean_of_clients(self.task.card, clients, p)
        return examine_server(self.task.card, self.client_data, self._answers, findings)

    def _answers(self, data: Data) -> list[Tensor]:
        """The logits (n, C) of every member's own model."""
        return [self.engine.logits(*server.model(), data)[0] for server in self.servers]

    def _layer_record(self, name: str, member: MemberRound) -> LayerRecord:
        record = layer_record(self.server.layers[name], member.outcomes[name], member.context.weights, min(self.setting.ranks))
        return without_global_model(record) if self.recipe.personalised else record

    def _costs(self, members: Sequence[MemberRound], began: float) -> Costs:
        traffic = Traffic(*(sum(numbers) for numbers in zip(*(member.traffic for member in members), strict=True)))
        return Costs(traffic, sum(member.forwards for member in members), time.perf_counter() - began)

    def snapshot(self) -> dict[str, np.ndarray]:
        """All that the next round needs: servers, heads, what the clients remember; "meta" holds the rest as JSON bytes.

        What further members of an ensemble need stands under "member <i>/".
        """
        arrays: dict[str, np.ndarray] = {}
        for i, server in enumerate(self.servers):
            start = f"member {i}/" if i else ""
            tensors, meta = server.state_dict()
            arrays[f"{start}meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
            for name, tensor in {**tensors, **self.clients.state_dict(i)}.items():
                arrays[f"{start}{name}"] = tensor.detach().cpu().contiguous().numpy().copy()
        return arrays

    def restore(self, snapshot: Snapshot) -> None:
        """Put a fresh simulation of the same experiment where `snapshot` was taken."""
        for i, server in enumerate(self.servers):
            start = f"member {i}/" if i else ""
            own = {n.removeprefix(start): array for n, array in snapshot.items() if n.startswith(start)}
            meta = json.loads(bytes(own.pop("meta")))
            tensors = {n: torch.from_numpy(np.array(array)).to(self.device) for n, array in own.items()}
            server.load_state_dict(tensors, meta)
            self.clients.load_state_dict(i, tensors)


def load_model(e: Experiment, task: Task, train: Data, device: str) -> LoadedModel:
    """The backbone of an experiment with its adapter merged and a fresh head, and the engine that it asks for."""
    backbone = task.load_backbone()
    merged = merge_adapter(e.adapter, backbone)
    model = backbone.model.to(device)
    linears = find_linears(model, e.targets, backbone.head)
    check_rank(max(e.client_ranks), linears)
    template = {
        f"head.{part}.{name}": tensor for part in backbone.head for name, tensor in model.get_submodule(part).named_parameters()
    }
    head = fresh_head(template, e.seed) | {name: tensor.to(device) for name, tensor in merged.head.items()}
    weights = {name: linear.weight.detach() for name, linear in linears.items()}
    engine = make_engine(e.engine, model, linears, backbone.head, train, e.precision)
    return LoadedModel(engine, weights, head, merged, sum(p.numel() for p in model.parameters()))


def run_setting(e: Experiment, task: Task, client_data: ClientData, weights: dict[str, Tensor], device: str) -> RunSetting:
    """What everyone knows of a run."""
    counts = tuple(len(share) for share in client_data.shares)
    return RunSetting(
        seed=e.seed,
        ranks=e.client_ranks,
        samples=counts,
        scaling=e.recipe.scaling,
        shapes={name: (weight.shape[0], weight.shape[1]) for name, weight in weights.items()},
        local_steps=max(steps_of(n, e.batch_size, e.local_steps, e.local_epochs) for n in counts),
        batch_size=e.batch_size,
        device=device,
        classes=len(task.card.classes),
        weight_norms={name: float(torch.linalg.matrix_norm(weight)) for name, weight in weights.items()},
        optimizer=e.optimizer,
        lr=e.lr,
        local_epochs=e.local_epochs,
        precision=e.precision,
    )


def make_server(recipe: Recipe, setting: RunSetting, model: LoadedModel, member: int) -> Server:
    """The server of one member; those after the first have first factors and a head of their own draw."""
    if member == 0:
        return Server(recipe, setting, model.weights, model.head, setting.seed)
    seed = int(numpy_generator(setting.seed, "member", member).integers(2**31))
    return Server(recipe, setting, model.weights, fresh_head(model.head, seed), seed)


def run_facts(e: Experiment, setting: RunSetting, client_data: ClientData, model: LoadedModel) -> RunFacts:
    """What is fixed for a run, before its first round."""
    widths = sum(sum(shape) for shape in setting.shapes.values())
    return RunFacts(
        clients=setting.clients,
        ranks=np.array(setting.ranks),
        samples=np.array(setting.samples),
        class_counts=client_data.class_counts,
        classes=client_data.classes,
        layers=tuple(setting.shapes),
        shapes=tuple(setting.shapes.values()),
        device=setting.device,
        precision=setting.precision,
        threads=torch.get_num_threads(),
        test_samples=len(client_data.test),
        backbone_parameters=model.parameters,
        adapter_parameters=np.array(setting.ranks) * widths,
        head_parameters=sum(tensor.numel() for tensor in model.head.values()),
        styles=client_data.styles,
        noisy=client_data.noisy,
    )

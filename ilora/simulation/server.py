"""The server of a federation: what it holds between rounds, what it broadcasts, and what it makes of what comes back."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate, Upload, weighted_update
from ilora.lora.factors import Factors, Stack, slot_mask
from ilora.methods import Recipe
from ilora.stages.context import Broadcast, Memory, Reply, RunSetting, ServerView, slots_of
from ilora.stages.initialise import Place, Start
from ilora.stages.stage import Stages, from_snapshot, make_stages, to_snapshot
from ilora.training.client_model import Base, Parameters

Snapshot = Mapping[str, np.ndarray]


@dataclass
class ServerLayer:
    """theta_0 of one layer and what has been learned on it: merged into everyone's base, or held in slots."""

    name: str
    weight: Tensor  # theta_0, (d_out, d_in)
    rank: int  # the server's rank R, the largest of all clients
    seed: int
    recipe: Recipe
    stages: Stages
    aggregate: Aggregate | None = None  # None: clients start from the initialise ingredient
    merged: Tensor | None = None  # (d_out, d_in)

    def starts(self, ids: Sequence[int], ranks: Sequence[int], round: int) -> list[Start]:
        """What each of these clients starts from in this round: its factors, and the product cut out of its base."""
        if self.aggregate is None:
            if self.recipe.ingredient("initialise").per_client:
                return [self.initial(rank, round, client) for client, rank in zip(ids, ranks, strict=True)]
            first = {rank: self.initial(rank, round) for rank in set(ranks)}
            return [first[rank] for rank in ranks]
        kept = self.aggregate.offset is not None
        share = {
            rank: Start(self.aggregate.factors(rank), self.initial(rank, round).offset if kept else None) for rank in set(ranks)
        }
        return [share[rank] for rank in ranks]

    def initial(self, rank: int, round: int, client: int = -1) -> Start:
        """The very first factors of a client of `rank`; client -1 is the server itself."""
        return self.stages.initialise(self.weight, rank, self.recipe.scaling, Place(self.seed, self.name, round, client))

    def upload(self, view: ServerView, sent: Parameters, p: Tensor, levels: tuple[int, ...], trained: Stack | None) -> Upload:
        """What reaches the server of this layer from clients of the ranks `levels`.

        The ideal is of the models as they were trained, where a simulation knows them, else of what was sent.
        """
        offset, stack = view.base.offsets.get(self.name), view.stack(sent, self.name)
        return Upload(
            start=view.stack({name: view.start[name] for name in sent if name in view.start}, self.name),
            sent=stack,
            weights=p,
            scaling=self.recipe.scaling,
            rank=self.rank,
            ideal=weighted_update(stack if trained is None else trained, view.share, self.recipe.scaling, offset),
            levels=levels,
            server=self.own(view.index).factors.truncate(self.rank),
            server_update=self.update_factors(),
            send_A=slots_of(view.shared.send_A, self.name),
            send_B=slots_of(view.shared.send_B, self.name),
            offset=offset,
            server_offset=self.initial(self.rank, view.index).offset if offset is not None else None,
        )

    def take(self, aggregate: Aggregate) -> None:
        """Keep what the round made of this layer: merge it into the base, or hold it for the next broadcast."""
        if not aggregate.merge:
            self.aggregate = replace(aggregate, residual=None)
        gone_into_base = aggregate.update_factors() if aggregate.merge else aggregate.residual
        if gone_into_base is not None:
            update = gone_into_base.product()
            self.merged = update if self.merged is None else self.merged + update

    def own(self, round: int) -> Start:
        """The server's model: every slot that it holds, with the scaling of rank R."""
        if self.aggregate is None:
            return self.initial(self.rank, round)
        offset = self.initial(self.rank, round).offset if self.aggregate.offset is not None else None
        return Start(self.aggregate.factors(self.rank, self.aggregate.rank), offset)

    def update_factors(self) -> Factors | None:
        """The update that the server's slots hold beside whatever is merged; None before the first round."""
        return None if self.aggregate is None else self.aggregate.update_factors()

    def merged_factors(self) -> Factors | None:
        """What is merged, as factors; None where nothing is."""
        return None if self.merged is None else Factors.dense(self.merged)


class Aggregated(NamedTuple):
    """One layer's way through a round's last stages: what the rule made of the uploads, and what the server's step made of it."""

    made: Aggregate
    kept: Aggregate


class Server:
    """The adapted layers, the head, the stages' server halves and the clients' ranks; `index` is the last round taken."""

    def __init__(self, recipe: Recipe, setting: RunSetting, weights: Mapping[str, Tensor], head: Parameters, seed: int) -> None:
        self.recipe, self.setting, self.head = recipe, setting, head
        self.stages = make_stages(recipe, setting)
        self.layers = {
            name: ServerLayer(name, weight, setting.rank, seed, recipe, self.stages) for name, weight in weights.items()
        }
        self.ranks = setting.ranks
        self.index = 0
        self.moved_without_learning = 0.0

    @property
    def rank(self) -> int:
        """R, the largest of all clients."""
        return self.setting.rank

    def broadcast(self, ids: Sequence[int]) -> Broadcast:
        """What these clients receive at the start of the next round."""
        index, budgets = self.index + 1, tuple(self.ranks[k] for k in ids)
        ranks = (self.rank,) * len(ids) if self.recipe.whole else budgets
        starts = {name: layer.starts(ids, ranks, index) for name, layer in self.layers.items()}
        sent = Broadcast(index, tuple(ids), ranks, budgets, *self._deliver(starts, ranks))
        view = self.view(sent)
        added = {name: stage.broadcast(view) for name, stage in self.stages.hooks.items()}
        return replace(sent, extra={name: own for name, own in added.items() if own})

    def model(self) -> tuple[Parameters, Base]:
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
        scales = torch.tensor([self.recipe.scaling(rank) for rank in ranks], dtype=torch.float32, device=self.setting.device)
        return parameters, Base(ranks, scales, merged, offsets)

    def view(self, broadcast: Broadcast) -> ServerView:
        """What the server knows of a round before anything came back."""
        return ServerView(
            setting=self.setting,
            index=broadcast.index,
            ids=broadcast.ids,
            ranks=broadcast.ranks,
            budgets=broadcast.budgets,
            start=broadcast.parameters,
            base=broadcast.base,
            model=self.model,
        )

    def receive(self, broadcast: Broadcast, reply: Reply) -> ServerView:
        """What the server knows of a round once the clients have replied."""
        view = self.view(broadcast)
        return replace(view, sent=as_received(view, reply), shared=reply.shared, counts=reply.count, report=reply.report)

    def questions(self, view: ServerView) -> Memory:
        """What the stages ask the clients once more, stage by stage; empty for most recipes."""
        asked = {name: stage.ask(view) for name, stage in self.stages.hooks.items() if stage.asks}
        return {name: question for name, question in asked.items() if question}

    def aggregate(self, view: ServerView, p: Tensor, trained: Mapping[str, Stack]) -> dict[str, Aggregated]:
        """Every layer's way from the uploads to what the server will hold; trained: the clients' models, where they are known."""
        if view.index == 1:
            self.moved_without_learning = self._moved_by_standing_still(view, p)
        made = {name: self._rule(view, name, view.sent, p, trained.get(name)) for name in self.layers}
        return {name: Aggregated(own, self.stages.server(view, name, own)) for name, own in made.items()}

    def _rule(self, view: ServerView, layer: str, sent: Parameters, p: Tensor, trained: Stack | None) -> Aggregate:
        return self.stages.aggregate(self.layers[layer].upload(view, sent, p, tuple(sorted(set(self.ranks))), trained))

    def update(self, view: ServerView, p: Tensor, aggregates: Mapping[str, Aggregated]) -> None:
        """Keep what was aggregated, average the head, and let every stage know that the round is over."""
        for name, own in aggregates.items():
            self.layers[name].take(own.kept)
        if view.shared.head:
            mean = {name: own + torch.einsum("k,k...->...", p, view.sent[name] - own) for name, own in self.head.items()}
            self.head = self.stages.hooks["server"].head(view, self.head, mean)
        for stage in self.stages.hooks.values():
            stage.update(view)
        left = dict(zip(view.ids, view.shared.kept or view.budgets, strict=True))
        self.ranks = tuple(min(rank, left.get(k, rank)) for k, rank in enumerate(self.ranks))
        self.index = view.index

    def _moved_by_standing_still(self, view: ServerView, p: Tensor) -> float:
        """||W_1 - theta_0|| / ||theta_0|| if no client learned anything: what the start and the bookkeeping alone do.

        The server's step is left out: it may remember what it sees.
        """
        moved = weight = 0.0
        for name, layer in self.layers.items():
            moved += low_rank.norm(self._rule(view, name, view.start, p, None).update_factors()) ** 2
            weight += float(torch.linalg.matrix_norm(layer.weight)) ** 2
        return sqrt(moved / weight)

    def state_dict(self) -> tuple[Parameters, dict[str, Any]]:
        """What the next round needs, as tensors under the names of a snapshot, and the rest as JSON values."""
        meta: dict[str, Any] = {"index": self.index, "moved": self.moved_without_learning, "ranks": self.ranks, "banks": {}}
        tensors = {f"head/{name}": tensor for name, tensor in self.head.items()}
        for stage in self.stages.hooks.values():
            tensors |= to_snapshot(stage, stage.state, clients=False)
        for name, layer in self.layers.items():
            if layer.merged is not None:
                tensors[f"merged/{name}"] = layer.merged
            if layer.aggregate is not None:
                factors = layer.aggregate.server_factors.truncate(layer.aggregate.rank)
                tensors |= {f"bank/{name}/A": factors.A, f"bank/{name}/B": factors.B}
                meta["banks"][name] = {
                    "carrier": layer.aggregate.scaled_factor,
                    "offset_kept": layer.aggregate.offset is not None,
                    "rank": layer.aggregate.rank,
                }
        return tensors, meta

    def load_state_dict(self, tensors: Parameters, meta: Mapping[str, Any]) -> None:
        """Put a fresh server of the same experiment where `state_dict` was taken; names that are a client's are left alone."""
        self.index, self.moved_without_learning, self.ranks = meta["index"], meta["moved"], tuple(meta["ranks"])
        self.head = {name: tensors[f"head/{name}"] for name in self.head}
        for stage in self.stages.hooks.values():
            stage.state.clear()  # in place: a central stage's clients have the same one
            stage.state.update(from_snapshot(stage, tensors, clients=False))
        for name, layer in self.layers.items():
            layer.merged = tensors.get(f"merged/{name}")
            if name in meta["banks"]:
                kept = meta["banks"][name]
                factors = Factors(tensors[f"bank/{name}/A"], tensors[f"bank/{name}/B"])
                offset = layer.initial(layer.rank, self.index).offset if kept["offset_kept"] else None
                layer.aggregate = Aggregate(factors, factors, layer.recipe.scaling, kept["rank"], kept["carrier"], offset)


def as_received(view: ServerView, reply: Reply) -> Parameters:
    """The clients' parameters as the server has them: a slot that is not sent is as it was broadcast, a given-up one zero."""
    shared, filled = reply.shared, dict(reply.sent)
    kept = slot_mask(shared.kept, view.setting.rank).to(view.setting.device) if shared.kept else view.owned
    sent = view.spread(reply.sent, shared.send_A, shared.send_B, D=shared.scales)
    there = view.spread(reply.sent, kept, kept)
    for name, tensor in reply.sent.items():
        if name in view.start and not name.startswith("head."):
            filled[name] = tensor.where(sent[name].bool(), view.start[name] * there[name])
    return filled

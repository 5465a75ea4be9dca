"""The server's side of one layer between rounds: what it holds, and what a client of a given rank starts from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ilora.lora.aggregation import Aggregate, Upload, weighted_update
from ilora.lora.factors import Factors
from ilora.methods import Recipe
from ilora.methods.ingredients import INGREDIENTS
from ilora.stages.context import Turn, slots_of
from ilora.stages.initialise import Place, Start
from ilora.training.client_model import Parameters

if TYPE_CHECKING:
    from ilora.simulation.round_loop import Simulation


@dataclass
class ServerLayer:
    """theta_0 of one layer and what has been learned on it: merged into everyone's base, or held in slots."""

    name: str
    weight: Tensor  # theta_0, (d_out, d_in)
    rank: int  # the server's rank R, the largest of all clients
    seed: int
    recipe: Recipe
    aggregate: Aggregate | None = None  # None: clients start from the initialise ingredient
    merged: Tensor | None = None  # (d_out, d_in)

    def starts(self, ids: Sequence[int], ranks: Sequence[int], round: int) -> list[Start]:
        """What each of these clients starts from in this round: its factors, and the product cut out of its base."""
        if self.aggregate is None:
            if INGREDIENTS["initialise"][self.recipe.ingredients["initialise"]].per_client:
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
        ingredient = self.recipe.make("initialise")
        start: Start = ingredient(self.weight, rank, self.recipe.scaling, Place(self.seed, self.name, round, client))
        return start

    def receive(self, turn: Turn, sent: Parameters, p: Tensor, levels: tuple[int, ...]) -> Upload:
        """What reaches the server of this layer from clients of the ranks `levels`; the ideal is of the models as trained."""
        trained, offset = turn.stack(turn.result, self.name), turn.base.offsets.get(self.name)
        return Upload(
            start=turn.stack({name: turn.start[name] for name in sent}, self.name),
            sent=turn.stack(sent, self.name),
            weights=p,
            scaling=self.recipe.scaling,
            rank=self.rank,
            ideal=weighted_update(trained, turn.counts / turn.counts.sum(), self.recipe.scaling, offset),
            levels=levels,
            server=self.own(turn.index).factors.truncate(self.rank),
            held=self.update_factors(),
            send_A=slots_of(turn.sharing.send_A, self.name),
            send_B=slots_of(turn.sharing.send_B, self.name),
            offset=offset,
            server_offset=self.initial(self.rank, turn.index).offset if offset is not None else None,
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


Snapshot = Mapping[str, np.ndarray]


def pack(simulation: "Simulation") -> dict[str, np.ndarray]:
    """The server's layers and head, the clients' ranks and every ingredient's state; "meta" holds the rest as JSON bytes.

    What further members of an ensemble need stands under "member <i>/".
    """
    meta: dict[str, Any] = {
        "index": simulation.index,
        "moved": simulation.moved_without_learning,
        "ranks": simulation.ranks,
        "banks": {},
    }
    tensors = {f"head/{name}": tensor for name, tensor in simulation.head.items()}
    for stage, ingredient in simulation.stages.items():
        tensors |= {f"{stage}/{name}": tensor for name, tensor in getattr(ingredient, "state", {}).items()}
    for name, layer in simulation.layers.items():
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
    arrays = {name: tensor.detach().cpu().contiguous().numpy().copy() for name, tensor in tensors.items()}
    others = {f"member {i}/{n}": a for i, other in enumerate(simulation.members[1:], 1) for n, a in pack(other).items()}
    return {"meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8), **arrays, **others}


def restore(simulation: "Simulation", snapshot: Snapshot) -> None:
    """Put a fresh simulation of the same experiment where `snapshot` was taken."""
    for i, other in enumerate(simulation.members[1:], 1):
        start = f"member {i}/"
        restore(other, {name.removeprefix(start): array for name, array in snapshot.items() if name.startswith(start)})
    meta = json.loads(bytes(snapshot["meta"]))
    simulation.index, simulation.moved_without_learning = meta["index"], meta["moved"]
    simulation.ranks = tuple(meta["ranks"])
    tensors = {
        name: torch.from_numpy(np.array(array)).to(simulation.device)
        for name, array in snapshot.items()
        if name != "meta" and not name.startswith("member ")
    }
    simulation.head = {name: tensors[f"head/{name}"] for name in simulation.head}
    for stage, ingredient in simulation.stages.items():
        if hasattr(ingredient, "state"):
            ingredient.state = {n.removeprefix(f"{stage}/"): t for n, t in tensors.items() if n.startswith(f"{stage}/")}
    for name, layer in simulation.layers.items():
        layer.merged = tensors.get(f"merged/{name}")
        if name in meta["banks"]:
            kept = meta["banks"][name]
            factors = Factors(tensors[f"bank/{name}/A"], tensors[f"bank/{name}/B"])
            offset = layer.initial(layer.rank, simulation.index).offset if kept["offset_kept"] else None
            layer.aggregate = Aggregate(factors, factors, layer.recipe.scaling, kept["rank"], kept["carrier"], offset)

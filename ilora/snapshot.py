"""What the next round needs beside the experiment, as flat arrays: packed after a round, restored before the next."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ilora.adapters import Factors
from ilora.aggregation import Aggregate

if TYPE_CHECKING:
    from ilora.simulation import Simulation

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
            bank = layer.aggregate.bank.truncate(layer.aggregate.rank)
            tensors |= {f"bank/{name}/A": bank.A, f"bank/{name}/B": bank.B}
            meta["banks"][name] = {
                "carrier": layer.aggregate.carrier,
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
            bank = Factors(tensors[f"bank/{name}/A"], tensors[f"bank/{name}/B"])
            offset = layer.initial(layer.rank, simulation.index).offset if kept["offset_kept"] else None
            layer.aggregate = Aggregate(bank, bank, layer.recipe.scaling, kept["rank"], kept["carrier"], offset)

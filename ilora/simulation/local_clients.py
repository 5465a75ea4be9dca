"""Who plays the clients: the protocol that the round loop speaks, and the clients of this process, all of a round stacked."""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from ilora.methods import Recipe
from ilora.simulation import client_round
from ilora.simulation.client_round import ClientSide, OnStep
from ilora.simulation.server import Server
from ilora.stages.context import Broadcast, Memory, Reply
from ilora.stages.stage import from_snapshot, make_stages, to_snapshot
from ilora.training.client_model import Parameters
from ilora.training.engine import Engine


class Clients(Protocol):
    """The clients of a federation as a server reaches them: one message each per round, and one more where a stage asks."""

    def round(self, broadcasts: Sequence[Broadcast], on_step: OnStep) -> list[Reply]:
        """One round of the clients named in the broadcasts, one broadcast for each member of an ensemble."""
        ...

    def ask(self, member: int, broadcast: Broadcast, question: Memory) -> tuple[Memory, int]:
        """What the clients answer to the questions of a member's stages, and the forward passes that it took."""
        ...

    def state_dict(self, member: int) -> Parameters:
        """What all clients remember for a member, stacks over all N, under the names of a snapshot."""
        ...

    def load_state_dict(self, member: int, tensors: Parameters) -> None:
        """Give the clients back what `state_dict` took."""
        ...


class LocalClients:
    """All clients in this process: those of a round train stacked; what each remembers is a row of `memories`."""

    def __init__(self, servers: Sequence[Server], recipe: Recipe, engine: Engine, samples: dict[int, torch.Tensor]) -> None:
        setting = servers[0].setting
        self.sides = [ClientSide(setting, make_stages(recipe, setting), engine, samples) for _ in servers]
        self.memories: list[Memory] = []
        for side, server in zip(self.sides, servers, strict=True):
            everyone = range(setting.clients)
            self.memories.append({name: stage.remember(everyone) for name, stage in side.stages.hooks.items()})
            for name, stage in side.stages.hooks.items():
                if stage.central:
                    stage.state = server.stages.hooks[name].state

    def round(self, broadcasts: Sequence[Broadcast], on_step: OnStep) -> list[Reply]:
        """One round of the clients named in the broadcasts."""
        N = len(broadcasts)
        return [self._member_round(i, sent, part_of(on_step, i / N, 1 / N)) for i, sent in enumerate(broadcasts)]

    def _member_round(self, member: int, broadcast: Broadcast, on_step: OnStep) -> Reply:
        memory, ids = self.memories[member], list(broadcast.ids)
        rows = rows_of(memory, ids)
        reply = client_round.run(self.sides[member], broadcast, rows, on_step)
        for stage, own in rows.items():
            put_rows(memory[stage], own, ids, self.sides[member].setting.clients)
        return reply

    def ask(self, member: int, broadcast: Broadcast, question: Memory) -> tuple[Memory, int]:
        """What the clients answer to the questions of a member's stages, and the forward passes that it took."""
        return client_round.reply_to(self.sides[member], broadcast, question)

    def state_dict(self, member: int) -> Parameters:
        """What all clients remember for a member, as "<stage>/<name>" (N, ...)."""
        tensors: Parameters = {}
        for name, stage in self.sides[member].stages.hooks.items():
            tensors |= to_snapshot(stage, self.memories[member][name], clients=True)
        return tensors

    def load_state_dict(self, member: int, tensors: Parameters) -> None:
        """Give the clients back what `state_dict` took."""
        for name, stage in self.sides[member].stages.hooks.items():
            self.memories[member][name] = from_snapshot(stage, tensors, clients=True)


def rows_of(memory: Memory, ids: list[int]) -> Memory:
    """What the clients `ids` remember, stacks over them."""
    return {stage: {name: tensor[ids] for name, tensor in own.items()} for stage, own in memory.items()}


def put_rows(table: Parameters, rows: Parameters, ids: list[int], clients: int) -> None:
    """Write the rows (C, ...) of the clients `ids` into a table over all N; what is new is zero for the others."""
    for name, own in rows.items():
        if name not in table:
            table[name] = own.new_zeros(clients, *own.shape[1:])
        table[name][ids] = own


def part_of(on_step: OnStep, before: float, share: float) -> Callable[[float], None]:
    """Tells of a part that begins at `before` and is `share` of the whole."""
    return lambda fraction: on_step(before + share * fraction)

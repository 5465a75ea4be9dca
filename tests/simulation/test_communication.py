"""What a round's record says was sent is what crossed: counted anew from the messages themselves, for every method."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from ilora import simulate
from ilora.experiment import Experiment
from ilora.methods import METHODS, properties
from ilora.simulation.local_clients import Clients, OnStep
from ilora.simulation.round_loop import Simulation
from ilora.stages.context import Broadcast, Memory, Reply, Slots, slots_of
from ilora.training.client_model import Parameters
from tests.toy import LAYERS, small_tasks, toy_experiment

RANKS = (2, 4, 3)
HEAD = 14 * 4 + 4
WIDTHS = {"A": {name: d_in for name, (_, d_in) in LAYERS.items()}, "B": {name: d_out for name, (d_out, _) in LAYERS.items()}}
SLOT = sum(map(sum, LAYERS.values()))  # numbers of one slot in all layers
OWN: dict[str, dict[str, Any]] = {
    "co-pfl": {"options": {"refresh": 1}},
    "flood": {"options": {"warmup": 1}},
    "hetlora": {"options": {"least_rank": 1, "gamma": 0.6}},
    "ri-fedavg": {"options": {"directions": 2, "points": 3, "refresh": 1}},
}
MERGES = [name for name, method in METHODS.items() if properties.merges(method) != "no"]  # counted in test_round_loop.py


class Overheard:
    """Clients whose last round's messages can be looked at."""

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.asked: list[Memory] = []
        self.answers: list[Memory] = []

    def round(self, broadcasts: Sequence[Broadcast], on_step: OnStep) -> list[Reply]:
        self.asked, self.answers = [], []
        self.broadcasts, self.replies = broadcasts, self.clients.round(broadcasts, on_step)
        return self.replies

    def ask(self, member: int, broadcast: Broadcast, question: Memory) -> tuple[Memory, int]:
        answer, passes = self.clients.ask(member, broadcast, question)
        self.asked.append(question)
        self.answers.append(answer)
        return answer, passes

    def state_dict(self, member: int) -> Parameters:
        return self.clients.state_dict(member)

    def load_state_dict(self, member: int, tensors: Parameters) -> None:
        self.clients.load_state_dict(member, tensors)


@pytest.fixture(autouse=True)
def tasks() -> Iterator[None]:
    with small_tasks():
        yield


def experiment_of(method: str) -> Experiment:
    wanted = {"skew": METHODS[method].needed_skew or "label", "local_steps": 4} | OWN.get(method, {})
    return toy_experiment(method=method, ranks=RANKS, rounds=3, lr=3e-3, **wanted)


def overheard(method: str) -> tuple[Simulation, Overheard]:
    simulation = Simulation(experiment_of(method))
    heard = Overheard(simulation.clients)
    simulation.clients = heard
    return simulation, heard


def slots(chosen: Slots | None, layer: str) -> int:
    return 0 if chosen is None else int(slots_of(chosen, layer).sum())


def numbers(stacks: Parameters, ranks: Sequence[int]) -> int:
    """Numbers in stacks over clients of these ranks, client by client: no NaN, and of factors the first r_k slots alone."""
    count = 0
    for name, stack in stacks.items():
        layer, _, factor = name.rpartition(".")
        for own, rank in zip(stack, ranks, strict=True):
            part = (own[:, :rank] if factor == "B" else own[:rank]) if layer in LAYERS else own
            count += int((~torch.isnan(part)).sum())
    return count


def everything(memory: Memory, ranks: Sequence[int]) -> int:
    return sum(numbers(stacks, ranks) for stacks in memory.values())


def sent_up(reply: Reply, ranks: Sequence[int]) -> int:
    shared = reply.shared
    factors = sum(
        slots(shared.send_A, layer) * d_in + slots(shared.send_B, layer) * d_out + slots(shared.scales, layer)
        for layer, (d_out, d_in) in LAYERS.items()
    )
    heads = sum(own.numel() for name, own in reply.sent.items() if name.startswith("head."))
    return factors + heads + everything(reply.report, ranks) + len(shared.kept)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "mor"])  # which sends prompts and reward heads once
def test_what_goes_up_is_what_the_replies_hold(method: str) -> None:
    simulation, heard = overheard(method)
    for _ in range(3):
        record = simulation.next_round()
        ranks = heard.broadcasts[0].ranks
        up = sum(sent_up(reply, ranks) for reply in heard.replies) + sum(everything(answer, ranks) for answer in heard.answers)
        assert record.floats_up == up


@pytest.mark.parametrize("method", [name for name in METHODS if name not in [*MERGES, "mor"]])
def test_what_comes_down_is_the_changed_model_and_what_the_stages_add(method: str) -> None:
    simulation, heard = overheard(method)
    for _ in range(3):
        before = [server.model()[0] for server in simulation.servers]
        record = simulation.next_round()
        down = 0
        for server, old, sent, reply in zip(simulation.servers, before, heard.broadcasts, heard.replies, strict=True):
            new, model = server.model()[0], 0
            for layer in LAYERS:
                needed = sum(sent.ranks) if reply.shared.receive is None else slots(reply.shared.receive, layer)
                for factor, width in WIDTHS.items():
                    name = f"{layer}.{factor}"
                    sends = slots(getattr(reply.shared, f"send_{factor}"), layer)
                    model += needed * width[layer] * bool(sends or not new[name].equal(old[name]))
            heads = HEAD * len(sent.ids) * reply.shared.head
            down += (1 + len(heard.asked)) * (model + heads) + everything(sent.extra, sent.ranks)
        assert record.floats_down == down


@pytest.mark.parametrize(
    ("method", "up", "down"),
    [
        ("ffa-lora", 9 * (10 + 14) + 3 * HEAD, 9 * (10 + 14) + 3 * HEAD),  # B alone
        ("fedsa-lora", 9 * (12 + 10), 9 * (12 + 10)),  # A alone, no head
        # D_G as large as the model comes down; v, one number for each of 6 tensors, goes both ways
        ("fedadamw", 9 * SLOT + 3 * HEAD + 3 * 6, 2 * (9 * SLOT + 3 * HEAD) + 3 * 6),
    ],
)
def test_the_numbers_of_three_methods_are_a_hand_count(method: str, up: int, down: int) -> None:
    for record in simulate(experiment_of(method)):
        assert (record.floats_up, record.floats_down) == (up, down)
        assert (record.bytes_up, record.bytes_down) == (4 * up, 4 * down)

"""One client at a time, each with a memory of its own and its messages as bytes, is the same as all of a round stacked."""

import ast
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ilora
from ilora.experiment import Experiment
from ilora.methods import METHODS
from ilora.records import Round
from ilora.simulation import client_round
from ilora.simulation.local_clients import LocalClients, OnStep
from ilora.simulation.round_loop import Simulation
from ilora.stages.context import Broadcast, Memory, Reply
from ilora.training.client_model import Parameters
from tests.conftest import ROOT
from tests.laws import updates
from tests.messages import broadcast_to, question_to, together
from tests.toy import small_tasks, toy_experiment

FEDERATING = [name for name in METHODS if name != "mor"]  # which trains alone, at the server
OWN: dict[str, dict[str, Any]] = {
    "flood": {"options": {"warmup": 1}},  # weighs from the second round on
    "co-pfl": {"options": {"refresh": 1}},
    "hetlora": {"options": {"least_rank": 1, "gamma": 0.6}},
    "ri-fedavg": {"options": {"directions": 2, "points": 3, "refresh": 1}},
    "dfl": {"local_steps": 4},
    "ilora transported": {"options": {"mode": "transported"}},
    "ilora transported, by owners, no pass": {"options": {"mode": "transported", "coverage": "owners", "gradient": "steps"}},
}


def as_bytes(message: Any) -> Any:
    """What arrives of a message on another machine: equal, and nothing of it shared."""
    return pickle.loads(pickle.dumps(message))


class OneByOne:
    """Clients that each hold their own memory, run alone, and exchange bytes with the server."""

    def __init__(self, local: LocalClients) -> None:
        self.sides = local.sides
        self.memory: dict[tuple[int, int], Memory] = {}  # member, client -> what it remembers
        self.messages = 0

    def round(self, broadcasts: Sequence[Broadcast], on_step: OnStep) -> list[Reply]:
        self.messages += len(broadcasts[0].ids)
        return [together([self.client(i, part) for part in parts(sent)]) for i, sent in enumerate(broadcasts)]

    def client(self, member: int, broadcast: Broadcast) -> Reply:
        side, (k,) = self.sides[member], broadcast.ids
        own = replace(side, samples={k: side.samples[k]})
        first = {name: stage.remember([k]) for name, stage in side.stages.hooks.items()}
        memory = self.memory.setdefault((member, k), first)
        reply = client_round.run(own, as_bytes(broadcast), memory, lambda fraction: None)
        sent, shared, count, report = as_bytes((reply.sent, reply.shared, reply.count, reply.report))
        return Reply(sent, shared, count, report, reply.observed)

    def ask(self, member: int, broadcast: Broadcast, question: Memory) -> tuple[Memory, int]:
        self.messages += len(broadcast.ids)
        answers: list[Memory] = []
        passes = 0
        for place, part in enumerate(parts(broadcast)):
            answer, more = client_round.reply_to(self.sides[member], as_bytes(part), as_bytes(question_to(question, [place])))
            answers.append(as_bytes(answer))
            passes += more
        whole = {
            stage: {name: torch.cat([own[stage][name] for own in answers]) for name in answers[0][stage]} for stage in answers[0]
        }
        return whole, passes

    def state_dict(self, member: int) -> Parameters:
        return {}

    def load_state_dict(self, member: int, tensors: Parameters) -> None:
        raise NotImplementedError


def parts(broadcast: Broadcast) -> list[Broadcast]:
    return [broadcast_to(broadcast, [place]) for place in range(len(broadcast.ids))]


def experiment_of(name: str) -> Experiment:
    """Three rounds in which slots are given up, clients weighed and duals moved, with half of five clients of mixed ranks."""
    method = name.partition(" ")[0]
    wanted = {"skew": METHODS[method].needed_skew or "label", "local_steps": 3} | OWN.get(name, {})
    return toy_experiment(method=method, ranks=(2, 4, 6, 3, 5), participation=0.5, rounds=3, lr=3e-3, **wanted)


def assert_same_model(one: Simulation, other: Simulation) -> None:
    """The same update in every layer and the same head, to 1e-5."""
    G, H = updates(one), updates(other)
    for name in G:
        np.testing.assert_allclose(G[name], H[name], atol=1e-5)
    for name, tensor in one.server.head.items():
        torch.testing.assert_close(tensor, other.server.head[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", [*FEDERATING, *(name for name in OWN if " " in name)])
def test_one_client_at_a_time_and_stock_peft_are_the_same_as_all_stacked(method: str) -> None:
    with small_tasks():
        experiment = experiment_of(method)
        stacked, single = Simulation(experiment), Simulation(experiment)
        reference = Simulation(experiment.replace(engine="sequential"))
        assert isinstance(single.clients, LocalClients)
        alone = single.clients = OneByOne(single.clients)
        for _ in range(3):
            one, other = stacked.next_round(), single.next_round()
            reference.next_round()
            assert_same_record(one, other)
    assert_same_model(stacked, single)
    assert_same_model(stacked, reference)
    assert_same_memory(stacked, alone)
    assert alone.messages == 3 * len(one.clients["id"]) * (2 if method == "co-pfl" else 1)


def assert_same_record(one: Round, other: Round) -> None:
    """The same numbers in the record of a round, those of each client too."""
    for name, value in one.metrics().items():
        if name not in ("seconds", "peak_megabytes"):
            assert value == pytest.approx(other.metrics()[name], abs=2e-5, rel=2e-4, nan_ok=True), name
    for name, column in one.clients.items():
        np.testing.assert_allclose(column, other.clients[name], atol=2e-4, err_msg=name)


def assert_same_memory(stacked: Simulation, alone: OneByOne) -> None:
    """What each client remembers is its row of what is remembered stacked; of a dual, its product."""
    for (member, k), memory in alone.memory.items():
        rows = stacked.clients.state_dict(member)
        for stage, own in memory.items():
            want = {name.removeprefix(f"{stage}/"): tensor[k] for name, tensor in rows.items() if name.startswith(f"{stage}/")}
            got = {name: tensor[0] for name, tensor in own.items()}
            for name, tensor in duals_as_products(got).items():
                torch.testing.assert_close(tensor, duals_as_products(want)[name], atol=1e-4, rtol=1e-4)


def duals_as_products(memory: Parameters) -> Parameters:
    """The same memory with "u/<layer>.A" and "u/<layer>.B" multiplied."""
    pairs = {name[:-2] for name in memory if name.startswith("u/") and name.endswith(".A")}
    products = {pair: memory[f"{pair}.B"] @ memory[f"{pair}.A"] for pair in pairs}
    return products | {name: tensor.float() for name, tensor in memory.items() if name[:-2] not in pairs}


def test_no_stage_reads_labels_but_by_the_view() -> None:
    """`data.labels` holds everyone's; a client half asks `view.labels` for those of its own samples."""
    readers = []
    for path in sorted(Path(ilora.__file__).parent.joinpath("stages").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr == "labels" and isinstance(node.value, ast.Attribute):
                readers.append((path.relative_to(ROOT / "ilora/stages").as_posix(), node.value.attr))
    assert readers == [("context.py", "data")]

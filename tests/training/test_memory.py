"""A round says how much memory it took, and large backbones are tested in smaller pieces."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ilora.lab.captions import rounds
from ilora.simulation.round_loop import Simulation
from ilora.training.hardware import forget_peak, peak_megabytes
from ilora.training.vectorised import EVALUATION_ROWS, VectorisedEngine
from tests.factory import make_facts, make_round
from tests.toy import small_tasks, toy_experiment

GROW = """
import torch
from ilora.training.hardware import forget_peak, peak_megabytes
peaks = [peak_megabytes("cpu")]
held = torch.ones(2**28)
peaks.append(peak_megabytes("cpu"))
del held
forget_peak("cpu")
peaks.append(peak_megabytes("cpu"))
print(*peaks)
"""


def test_the_processs_peak_is_measured_and_stays_when_memory_is_given_back():
    """In a process of its own: the tests' has been larger before."""
    done = subprocess.run([sys.executable, "-c", GROW], capture_output=True, text=True, timeout=120, check=True)
    before, full, after = map(float, done.stdout.split())
    assert full > before + 1_000
    assert before > 50
    assert after == pytest.approx(full, rel=0.01)  # the kernel counts to a few pages per core


def test_on_cuda_it_is_what_tensors_took_since_the_round_began(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: seen.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3_000_000)
    forget_peak("cuda")
    assert (seen, peak_megabytes("cuda")) == (["reset"], 3.0)


def test_a_round_records_it_and_the_caption_says_it():
    with small_tasks():
        record = Simulation(toy_experiment()).next_round()
    assert record.peak_megabytes > 50
    assert record.metrics()["peak_megabytes"] == record.peak_megabytes
    made = make_round(1, forwards=2_700, seconds=2.0, peak_megabytes=1_234.4)
    assert rounds.machine(made, make_facts()) == "cpu, float32, 1 thread, 1,350 images/s, 1,234 MB in all"
    card = replace(make_facts(), device="cuda", precision="bfloat16", threads=4)
    assert rounds.machine(made, card, "text") == "cuda, bfloat16, 4 threads, 1,350 texts/s, 1,234 MB on the card"
    assert rounds.machine(make_round(1, forwards=0, peak_megabytes=0.0), make_facts()) == "cpu, float32, 1 thread"


def test_where_memory_is_short_fewer_samples_are_tested_at_once_to_the_same_answers():
    with small_tasks():
        simulation = Simulation(toy_experiment())
        engine = simulation.engine
        assert isinstance(engine, VectorisedEngine)
        whole = engine.logits(*simulation.server.model(), simulation.client_data.test)
        assert engine._most_rows() == EVALUATION_ROWS
        engine.bytes_per_row, engine.memory_budget, sizes = 10, 70, []
        plain = engine.model.forward
        engine.model.forward = lambda p, b, i: (sizes.append(i["x"].shape[1]), plain(p, b, i))[1]  # type: ignore[assignment, func-returns-value]
        torch.testing.assert_close(engine.logits(*simulation.server.model(), simulation.client_data.test), whole)
    assert sizes == [7, 7, 7, 7, 2]


@pytest.mark.parametrize("budget", [0, 5])
def test_a_sample_passes_however_little_memory_there_is(budget):
    with small_tasks():
        simulation = Simulation(toy_experiment())
        assert isinstance(simulation.engine, VectorisedEngine)
        simulation.engine.bytes_per_row, simulation.engine.memory_budget = 10, budget
        assert simulation.engine.logits(*simulation.server.model(), simulation.client_data.test).shape == (1, 30, 4)

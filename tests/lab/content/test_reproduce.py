"""The exported script and notebook train a run again, to the same numbers, or say that they differ."""

import json
import subprocess
import sys

import nbformat
import pandas as pd
import pytest
import torch

import ilora
from ilora.lab.content.reproduce import as_notebook, as_python, as_script
from ilora.methods import METHODS
from ilora.simulation.round_loop import Simulation
from tests.cells import run_cells
from tests.conftest import ROOT

TINY = ilora.Experiment(method="fedit", ranks=[2, 4], rounds=2, local_steps=2, batch_size=4, seed=3)


@pytest.fixture(scope="module")
def recorded():
    simulation = Simulation(TINY)
    history = pd.DataFrame([simulation.next_round().metrics() for _ in range(TINY.rounds)])
    assert simulation.facts.threads == torch.get_num_threads()
    return history, simulation.facts


def run_code(code, folder):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240)


def test_the_script_names_the_tasks_own_metric():
    history = pd.DataFrame({"accuracy": [0.4], "score matthews": [0.4]})
    assert "RECORDED = [  # matthews on the test set" in as_script(TINY, history, None, "x")


def test_the_script_ends_well_with_the_same_numbers_and_badly_with_others(recorded, tmp_path):
    history, facts = recorded
    done = run_code(as_script(TINY, history, facts, 'A "name" \\ with signs'), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "The same numbers as the recorded run." in done.stdout
    wrong = history.assign(accuracy=history["accuracy"] + 1e-12)
    done = run_code(as_script(TINY, wrong, facts, "wrong"), tmp_path)
    assert "AssertionError: recorded were" in done.stderr


def test_the_notebook_is_valid_and_trains_to_the_same_numbers(recorded):
    book = nbformat.reads(as_notebook(TINY, recorded[0], recorded[1], "A run"), as_version=4)
    names = run_cells(book)
    assert names["scores"] == list(recorded[0]["accuracy"])


def test_a_run_that_was_stopped_is_trained_as_far_as_it_came(recorded, tmp_path):
    history, facts = recorded
    done = run_code(as_script(TINY.replace(rounds=50), history, facts, "stopped"), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("method", METHODS)
def test_the_call_makes_the_same_experiment(method):
    skew = METHODS[method].needed_skew or "label"
    for experiment in (
        ilora.Experiment(method=method, skew=skew),
        ilora.Experiment(method=method, skew=skew, ranks=[2, 4, 2], alpha=0.1, rounds=3, targets=["value"]),
        ilora.Experiment(method=method, skew=skew, ranks="paper", clients=5, participation=0.5, scaling="16/r"),
    ):
        assert eval(as_python(experiment), {"ilora": ilora}) == experiment


def test_the_default_is_said_shortly():
    assert as_python(ilora.Experiment()) == "ilora.Experiment()"
    assert json.loads(as_notebook(TINY, pd.DataFrame({"accuracy": []}), None, "x"))["nbformat"] == 4

"""How long a round takes here: by its forward passes, from a run of the same task, of another, or from the catalogue."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ilora.experiment import Experiment
from ilora.lab.runs.pace import duration, expected_pace, passes, usual_seconds
from ilora.lab.runs.store import Store
from ilora.simulation.evaluation import first_samples
from ilora.tasks import TASKS
from ilora.tasks.base import Data

PLAIN = Experiment(clients=4, local_steps=5, batch_size=10)


def finished(experiment: Experiment, seconds: float | None) -> Any:
    return SimpleNamespace(experiment=experiment, seconds_per_round=seconds)


def test_a_round_costs_three_passes_for_a_trained_sample_and_one_for_a_tested():
    assert passes(PLAIN) == 3 * 4 * 5 * 10 + 360 + 4 * 360
    assert passes(PLAIN.replace(participation=0.5)) == 3 * 2 * 5 * 10 + 360 + 2 * 360
    assert passes(PLAIN.replace(method="fedit", local_epochs=2)) == 3 * 2 * 1437 + 360 + 4 * 360


@pytest.mark.parametrize("clients", [1, 4, 30, 300])
def test_clients_are_counted_on_as_many_samples_as_they_are_tested_on(clients):
    test = Data({}, torch.zeros(360, dtype=torch.long))
    experiment = PLAIN.replace(clients=clients, local_steps=0)
    assert passes(experiment) == 360 + clients * len(first_samples(test, clients))


def test_the_same_run_again_takes_as_long_and_twice_the_work_twice():
    runs = [finished(PLAIN, 3.0)]
    assert expected_pace(runs, PLAIN.replace(seed=1, rounds=99)) == (3.0, PLAIN)
    more = PLAIN.replace(local_steps=50)
    assert seconds(runs, more) == pytest.approx(3.0 * passes(more) / passes(PLAIN))


def test_a_run_of_another_task_tells_by_the_usual_times_of_both():
    cifar = PLAIN.replace(task="cifar10", backbone="")
    slow = 2 * (usual_seconds(PLAIN) or 0)
    assert seconds([finished(PLAIN, slow)], cifar) == pytest.approx(2 * (usual_seconds(cifar) or 0))


def test_runs_on_other_engines_and_runs_without_a_round_tell_nothing():
    others = [finished(PLAIN.replace(engine="sequential"), 9.0), finished(PLAIN.replace(precision="bfloat16"), 9.0)]
    assert expected_pace([*others, finished(PLAIN, None)], PLAIN) == (usual_seconds(PLAIN), None)


def test_every_backbone_of_the_catalogue_was_measured_and_no_other_is_guessed_at():
    for name, card in TASKS.items():
        for backbone in card.backbones:
            assert usual_seconds(Experiment(name, backbone=backbone))
    assert expected_pace([finished(PLAIN, 1.0)], Experiment("sst2", backbone="a/model-of-ones-own")) is None


def test_a_run_of_the_same_method_is_believed_before_a_later_one_of_another():
    runs = [finished(PLAIN.replace(method="fedit"), 1.0), finished(PLAIN.replace(method="flora"), 2.0)]
    assert seconds(runs, PLAIN.replace(method="flora")) == 2.0
    assert seconds(runs, PLAIN) == 1.0


def test_a_run_that_this_version_does_not_know_is_passed_over(tmp_path):
    store = Store(tmp_path)
    run = store.run(store.add(PLAIN))
    strange = replace(run, experiment_json=run.experiment_json.replace("digits", "runes"), seconds_per_round=5.0)
    assert seconds([strange, replace(run, seconds_per_round=4.0)], PLAIN) == 4.0


def seconds(runs: list[Any], experiment: Experiment) -> float | None:
    found = expected_pace(runs, experiment)
    return found and found.seconds


@pytest.mark.parametrize(("time", "said"), [(0.2, "1 s"), (99, "99 s"), (150, "2 min"), (9_000, "2.5 h")])
def test_durations_are_said_as_people_say_them(time, said):
    assert duration(time) == said

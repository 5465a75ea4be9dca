"""How long a round takes here: by its forward passes, from a run of the same task, and nothing where nothing is known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ilora.evaluation import first_samples
from ilora.experiment import Experiment
from ilora.pace import duration, expected_seconds, passes
from ilora.store import Store
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
    assert expected_seconds(runs, PLAIN.replace(seed=1, rounds=99)) == 3.0
    more = PLAIN.replace(local_steps=50)
    assert expected_seconds(runs, more) == pytest.approx(3.0 * passes(more) / passes(PLAIN))


def test_other_tasks_engines_and_runs_without_a_round_tell_nothing():
    others = [Experiment("cifar10", clients=4), PLAIN.replace(engine="sequential")]
    assert expected_seconds([*(finished(other, 9.0) for other in others), finished(PLAIN, None)], PLAIN) is None


def test_a_run_of_the_same_method_is_believed_before_a_later_one_of_another():
    runs = [finished(PLAIN.replace(method="fedit"), 1.0), finished(PLAIN.replace(method="flora"), 2.0)]
    assert expected_seconds(runs, PLAIN.replace(method="flora")) == 2.0
    assert expected_seconds(runs, PLAIN) == 1.0


def test_a_run_that_this_version_does_not_know_is_passed_over(tmp_path):
    store = Store(tmp_path)
    run = store.run(store.add(PLAIN))
    strange = replace(run, experiment_json=run.experiment_json.replace("digits", "runes"), seconds_per_round=5.0)
    assert expected_seconds([strange, replace(run, seconds_per_round=4.0)], PLAIN) == 4.0


@pytest.mark.parametrize(("seconds", "said"), [(0.2, "1 s"), (99, "99 s"), (150, "2 min"), (9_000, "2.5 h")])
def test_durations_are_said_as_people_say_them(seconds, said):
    assert duration(seconds) == said

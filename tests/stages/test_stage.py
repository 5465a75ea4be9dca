"""What a stage may be: a wrong one is refused by name before anything is trained, and each side keeps what is its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch

from ilora import Experiment, Method, Stage, register_method
from ilora.checks import FieldError
from ilora.methods import METHODS
from ilora.methods.ingredients import INGREDIENTS, STAGES
from ilora.simulation.round_loop import Simulation
from ilora.stages.context import ClientView, RunSetting, ServerView, Shared
from ilora.stages.sharing import both
from ilora.training.client_model import Parameters
from ilora.training.local_work import LocalWork, Train, Trained
from tests.laws import assert_same_bits
from tests.toy import small_tasks, toy_experiment


class Both(Stage):
    """Shares as plain averaging does."""

    def __init__(self, setting: RunSetting) -> None:
        self.clients = setting.clients

    def __call__(self, view: ClientView) -> Shared:
        """Everything."""
        return both(view)


class Misspelt(Both):
    """Has a hook that nothing calls."""

    def on_round_end(self, view: ClientView) -> Parameters:
        """Never called."""
        return {}


class NoStage:
    """Has all that a stage needs but its base."""

    def __init__(self, setting: RunSetting) -> None:
        pass

    def __call__(self, view: ClientView) -> Shared:
        """Everything."""
        return both(view)


class Trains(Both):
    """Trains in a way of its own."""

    def train(self, view: ClientView, work: LocalWork, train: Train) -> Trained:
        """As everybody does."""
        return train(work)


class TrainsToo(Stage):
    """A correction that trains as well."""

    def __init__(self, setting: RunSetting) -> None:
        pass

    def __call__(self, view: ClientView) -> None:
        """Corrects nothing."""

    def train(self, view: ClientView, work: LocalWork, train: Train) -> Trained:
        """As everybody does."""
        return train(work)


class ForgetsToName(Both):
    """Its clients remember what `client_memory` does not name."""

    def remember(self, ids: Sequence[int]) -> Parameters:
        """No visits yet."""
        return {"visits": torch.zeros(len(ids))}


class TakesAClientsName(Both):
    """Its server keeps something under a name that belongs to the clients."""

    client_memory = ("visits",)

    def update(self, server: ServerView) -> None:
        """Counts rounds."""
        self.state["visits of all"] = torch.ones(())


@pytest.fixture(autouse=True)
def own_methods() -> Iterator[None]:
    """Methods and ingredients registered by a test are gone after it."""
    with small_tasks(), pytest.MonkeyPatch.context() as patch:
        for stage in STAGES:
            patch.setitem(INGREDIENTS, stage, dict(INGREDIENTS[stage]))
        kept = dict(METHODS)
        yield
        METHODS.clear()
        METHODS.update(kept)


def experiment_with(**ingredients: Any) -> Experiment:
    """A method made of these, on the toy task."""
    register_method("mine", Method(title="Mine"), **ingredients)
    return toy_experiment(method="mine", rounds=2)


@pytest.mark.parametrize(
    ("ingredients", "field", "said"),
    [
        ({"sharing": Misspelt}, "options.sharing", r"^sharing 'mine' has the method on_round_end, which is no hook; .*\bend\b"),
        (
            {"sharing": NoStage},
            "options.sharing",
            "^sharing 'mine' is the class NoStage; allowed .* subclasses of ilora.Stage",
        ),
        (
            {"sharing": Trains, "correction": TrainsToo},
            "options.correction",
            "^sharing 'mine' and correction 'mine' both train .*; allowed is only one",
        ),
    ],
)
def test_a_wrong_stage_is_refused_by_name_before_the_first_round(ingredients: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(FieldError, match=said) as refused:
        Simulation(experiment_with(**ingredients))
    assert (refused.value.field, refused.value.value) == (field, "mine")


def test_one_stage_may_train_in_a_way_of_its_own() -> None:
    simulation = Simulation(experiment_with(sharing=Trains))
    assert isinstance(simulation.server.stages.training, Trains)


@pytest.mark.parametrize(("kind", "side"), [(ForgetsToName, "clients"), (TakesAClientsName, "server")])
def test_a_name_that_a_snapshot_would_give_to_the_other_side_is_refused(kind: type[Stage], side: str) -> None:
    simulation = Simulation(experiment_with(sharing=kind))
    with pytest.raises(FieldError, match=f"^sharing keeps 'visits.*' at the {side}"):
        simulation.next_round()


@pytest.mark.parametrize("method", METHODS)
def test_what_both_sides_save_is_exactly_what_they_are_given_back(method: str) -> None:
    experiment = toy_experiment(
        method=method, ranks=(2, 4, 3, 5), participation=0.5, local_steps=4, skew=METHODS[method].needed_skew or "label"
    )
    simulation = Simulation(experiment)
    for _ in range(2):
        snapshot = simulation.next_round().snapshot
    restored = Simulation(experiment, snapshot)
    assert_same_bits(snapshot, restored.snapshot())
    for one, other in zip(simulation.servers, restored.servers, strict=True):
        for stage, own in one.stages.hooks.items():
            assert_same_bits(own.state, other.stages.hooks[stage].state)
    for member in range(len(simulation.servers)):
        assert_same_bits(simulation.clients.state_dict(member), restored.clients.state_dict(member))

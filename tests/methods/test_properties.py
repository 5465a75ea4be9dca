"""What the table of methods says of each is what a run of it shows."""

import pytest

from ilora.api import simulate
from ilora.experiment import Experiment
from ilora.methods import METHODS, properties
from ilora.simulation.round_loop import Simulation
from tests.toy import LAYERS, small_tasks, toy_experiment

OPTIONS = {"hetlora": {"least_rank": 8}, "dfl": {"negative_control": True}}
HEAD = 14 * 4 + 4
MIXED = {"ranks": [1, 3, 8], "rounds": 3}
NUMBERS = {"r_k": 12, "R": 3 * 8, "rho": 3 * 12}  # summed over clients of ranks 1, 3 and 8


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


def experiment_of(method: str, **changes: object) -> Experiment:
    return toy_experiment(method=method, options=OPTIONS.get(method, {}), **MIXED | changes)


def worst_error(method: str, **changes: object) -> float:
    return max(record.aggregation_error for record in simulate(experiment_of(method, **changes)))


@pytest.mark.parametrize("method", [key for key in METHODS if not METHODS[key].personalised])
def test_what_is_said_to_be_exact_is_and_what_is_not_is_not(method):
    said = properties.exact(METHODS[method])
    if said == "yes":
        assert worst_error(method) < 5e-6
    elif said in ("up to the cut to rank r", "for changes"):
        assert worst_error(method, ranks=[10, 10]) < 1e-5
        assert worst_error(method) > 1e-3
    elif said == "no":
        assert worst_error(method) > 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_what_is_said_to_be_merged_is(method):
    simulation = Simulation(experiment_of(method))
    simulation.next_round()
    layer = simulation.server.layers["query"]
    said = properties.merges(METHODS[method])
    assert (layer.merged is not None) == (said != "no")
    assert (layer.aggregate is None) == (said == "everything")


SINGLE_NUMBERS = {"fedadamw": 3 * 6, "aer": 3}  # that three clients receive: the mean of v of every tensor; alpha


@pytest.mark.parametrize("method", METHODS)
def test_the_download_is_what_the_second_round_counts(method):
    """Formulas with a number that only the run knows, p, r_shared or the residual, are left out."""
    formula = properties.download(METHODS[method])
    if any(word in formula for word in ("p (", "r_shared", "residual", "rho", "q", "N ")):
        pytest.skip("depends on the run")
    _, second, _ = simulate(experiment_of(method))
    heads = 0 if method in ("fedsa-lora", "mor") else 3 * HEAD * (2 if formula.startswith("2 ") else 1)
    choices = formula.split(" or ")
    counted = sum(value(choices[1 % len(choices)], *shape) for shape in LAYERS.values())
    assert second.floats_down - heads == counted + SINGLE_NUMBERS.get(method, 0)


def value(formula: str, d_out: int, d_in: int) -> int:
    """A formula as a number."""
    text = formula.replace(" (", " * (").replace("2 r", "2 * r").replace("k d", "k * d").replace("R d", "R * d")
    return int(eval(text, {"d_out": d_out, "d_in": d_in, **NUMBERS}))


def test_padding_is_called_ours_where_the_rule_is_a_mean_of_padded_factors():
    assert properties.mixed_ranks(METHODS["fedit"]) == "padding, ours"
    assert properties.mixed_ranks(METHODS["ffa-lora"]) == "nested factor"
    assert {properties.mixed_ranks(METHODS[key]) for key in ("ilora", "hetlora", "fedhl", "haflq", "fslora", "flora")} == {
        "native"
    }

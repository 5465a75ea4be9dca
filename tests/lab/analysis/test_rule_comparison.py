"""All aggregation rules on the same uploads, made up and from real rounds."""

from itertools import pairwise

import pytest

from ilora.experiment import Experiment
from ilora.lab.analysis import rule_comparison
from ilora.lab.analysis.rule_comparison import Uploads, compare_rules, equal_weights
from ilora.lab.analysis.synthetic_clients import make_clients
from ilora.lora.low_rank import norm
from ilora.simulation.round_loop import Simulation
from tests.toy import small_tasks, toy_experiment

EXACT = {"stack", "mean-and-residual"}
BLIND_TO_ROTATION = {"stack", "mean-and-residual", "svd", "concat-qr", "concat-pivoted-qr", "thresholded-stack"}


def errors(**shape):
    factors = make_clients([2, 4, 8], 64, **shape)
    return {found.rule: found for found in compare_rules(Uploads(list(factors), equal_weights(factors)))}


def test_every_rule_that_needs_no_start_is_compared():
    assert set(errors()) == set(rule_comparison.rules())
    assert set(rule_comparison.rules()) > EXACT


def test_exact_rules_lose_nothing_and_no_cut_beats_the_svd():
    found = errors(overlap=0.2)
    assert all(found[rule].server < 1e-5 for rule in EXACT)
    cut = [rule for rule in found if rule not in EXACT and rule != "thresholded-stack"]
    assert min(cut, key=lambda rule: found[rule].server) == "svd"
    assert found["svd"].averaging < 1e-5 < found["svd"].truncation


def test_an_inner_rotation_hurts_only_rules_that_average_factors():
    still, turned = errors(overlap=1.0), errors(overlap=1.0, rotation=1.0)
    for rule in BLIND_TO_ROTATION:
        assert turned[rule].server == pytest.approx(still[rule].server, abs=1e-4)
    assert turned["mean"].server > still["mean"].server + 0.05


def test_a_small_client_cannot_hold_what_the_server_holds():
    found = errors()
    assert found["svd"].smallest > found["svd"].server
    assert found["stack"].smallest < 1e-5  # it merges everything into its base


def test_truncation_falls_with_the_rank_and_the_svd_is_the_lowest():
    factors = make_clients([2, 4, 8], 64, overlap=0.3)
    update = rule_comparison.ideal_update(Uploads(list(factors), equal_weights(factors)))
    lost = rule_comparison.truncation_errors(update, 14)
    for curve in lost.values():
        assert len(curve) == 14
        assert curve[-1] < 1e-4  # 2 + 4 + 8 directions
        assert all(a >= b - 1e-6 for a, b in pairwise(curve))
    assert all(a <= b + 1e-6 for name in rule_comparison.CUTS for a, b in zip(lost["SVD"], lost[name], strict=True))
    assert norm(update) > 0


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ilora", {}),
        ("ilora", {"mode": "official"}),
        ("fedit", {}),
        ("flora", {}),
        ("flexlora", {}),
        ("fedit", {"weighting": "uniform"}),
        ("replication", {"initialise": "qr"}),  # what was cut out of the base stays cut out
        ("raflora", {"initialise": "qr"}),  # and here it goes back
        ("feddyn", {"gamma": 0.1}),  # its server moves the model on after the rule
    ],
)
def test_a_real_rounds_own_rule_gives_the_error_on_record(method, options):
    with small_tasks():
        simulation = Simulation(toy_experiment(method=method, options=options, ranks=[2, 4, 3, 1]))
        records = [simulation.next_round() for _ in range(2)]
    experiment: Experiment = simulation.experiment
    rule = experiment.recipe.ingredients["aggregate"]
    for record in records:
        for layer, diagnosed in record.layers.items():
            kept, first = (
                {name.removeprefix(f"{layer}/"): array for name, array in r.factors.items() if name.startswith(f"{layer}/")}
                for r in (record, records[0])
            )
            uploads = rule_comparison.uploads_of(experiment, record, kept, first)
            made = rule_comparison.merged(rule, uploads, experiment)
            assert rule_comparison.away(made, uploads)[3] == pytest.approx(rule_comparison.outcome(rule, made, uploads).smallest)
            found = rule_comparison.outcome(rule, made, uploads)
            lost = found.averaging * norm(made.ideal)
            assert lost == pytest.approx(diagnosed.averaging_error * diagnosed.ideal_norm, rel=2e-3, abs=1e-5)
            if method == "feddyn":
                assert diagnosed.aggregation_error > 1.05 * lost
            else:
                assert found.server * norm(made.ideal) == pytest.approx(diagnosed.aggregation_error, rel=2e-3, abs=1e-5)

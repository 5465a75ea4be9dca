"""Figures and sentences of what lies inside a round."""

from itertools import pairwise

import numpy as np
import pytest

from ilora.lab import figures
from ilora.lab.analysis.rule_comparison import Outcome
from ilora.lab.captions import one_round
from ilora.lab.figures.factors import thinned
from ilora.lora.scaling import Scaling

OUTCOMES = [
    Outcome("stack", 0.0, 0.0, 0.0, 0.0),
    Outcome("svd", 0.2, 0.0, 0.2, 0.45),
    Outcome("mean", 0.3, 0.3, 0.0, 0.5),
]
CUTS = {"QR": [0.9, 0.5, 0.2, 0.1], "pivoted QR": [0.8, 0.4, 0.2, 0.1], "SVD": [0.7, 0.3, 0.1, 0.05]}


def test_rules_stand_in_the_given_order_with_the_runs_own_marked():
    figure = figures.rule_errors(OUTCOMES, own="svd")
    assert list(figure.data[0].x) == pytest.approx([0, 20, 30])
    assert [label.split("  ")[0] for label in figure.data[0].y] == [
        "Stack and merge",
        "Sum and SVD (this run's)",
        "Mean of padded factors",
    ]
    assert figure.data[0].marker.color[1] != figure.data[0].marker.color[0]
    assert list(figure.data[1].x) == pytest.approx([0, 45, 50])


def test_the_sentence_of_the_rules_gives_the_cost_of_averaging():
    text = one_round.rules(OUTCOMES, [2, 8], own="svd")
    assert "2 clients of ranks 2 to 8, averaging A and B loses 30 %" in text
    assert "“Stack and merge” loses nothing" in text
    assert "“Sum and SVD”, loses 20 %" in text
    assert "client of rank 2 is 45 % away" in text


def test_truncation_curves_carry_their_ranks():
    figure = figures.truncation(CUTS, rank=3, smallest=2)
    assert [trace.name for trace in figure.data] == list(CUTS)
    assert all(a >= b for trace in figure.data for a, b in pairwise(trace.y))
    assert "Cut to rank 3, the ideal update loses: QR 20 %, pivoted QR 20 % and SVD 10 %." in one_round.truncation(CUTS, 3, 2)


def test_slots_that_a_client_lacks_are_not_drawn():
    A, B = np.ones((4, 6)), np.ones((5, 4))
    figure = figures.factor_maps(A, B, rank=2)
    for trace in figure.data:
        assert not np.isnan(trace.z[:2]).any()
        assert np.isnan(trace.z[2:]).all()
    assert len(figure.data[0].z[0]) == 6
    assert len(figure.data[1].z[0]) == 5


def test_the_difference_is_drawn_in_the_scale_of_the_ideal():
    ideal = np.arange(12.0).reshape(3, 4)
    figure = figures.update_maps(ideal, ideal + 0.5)
    np.testing.assert_allclose(figure.data[2].z, 0.5)
    assert len({trace.zmax for trace in figure.data}) == 1


def test_a_large_matrix_is_thinned_to_its_strongest_numbers():
    matrix = np.zeros((300, 200))
    matrix[7, 150] = -3.0
    small = thinned(matrix)
    assert max(small.shape) <= 100
    assert small.min() == -3.0
    assert np.count_nonzero(small) == 1


@pytest.mark.parametrize(
    ("rule", "words"),
    [("1", "s = 1 for every rank"), ("16/r", "s = α/r = 16/2 = 8."), ("16/sqrt(r)", "s = α/√r = 16/√2 = 11.3.")],
)
def test_the_scaling_is_said_in_numbers(rule, words):
    assert words in one_round.scaling(Scaling.parse(rule if "/" in rule else float(rule)), 2)


def test_a_factor_that_did_not_move_is_named():
    assert "A did not move" in one_round.trained("Client 1", 0.5, 1.2, np.zeros((2, 3)), np.ones((3, 2)))
    assert "its update is zero" in one_round.received("Client 1", np.ones((2, 3)), np.zeros((3, 2)), 2, 1.0)

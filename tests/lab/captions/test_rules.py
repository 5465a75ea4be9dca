"""Figures and sentences of the rules of aggregation."""

from itertools import pairwise

import pytest

from ilora.lab import figures
from ilora.lab.analysis.rule_comparison import Outcome
from ilora.lab.captions import rules

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
    text = rules.rules(OUTCOMES, [2, 8], own="svd")
    assert "2 clients of ranks 2 to 8, averaging A and B loses 30 %" in text
    assert "“Stack and merge” loses nothing" in text
    assert "“Sum and SVD”, loses 20 %" in text
    assert "client of rank 2 is 45 % off" in text


def test_truncation_curves_carry_their_ranks():
    figure = figures.truncation(CUTS, rank=3, smallest=2)
    assert [trace.name for trace in figure.data] == list(CUTS)
    assert all(a >= b for trace in figure.data for a, b in pairwise(trace.y))
    assert "Truncated to rank 3, the ideal update loses: QR 20 %, pivoted QR 20 % and SVD 10 %." in rules.truncation(CUTS, 3, 2)

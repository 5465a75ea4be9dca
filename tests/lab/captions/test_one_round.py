"""Figures and sentences of what lies inside a round."""

import numpy as np
import pytest

from ilora.lab import figures
from ilora.lab.captions import one_round
from ilora.lab.figures.factors import thinned
from ilora.lora.scaling import Scaling


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

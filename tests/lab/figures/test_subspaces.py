"""Figures and sentences of directions, paths, corrections and collapse."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ilora.lab import figures
from ilora.lab.analysis.subspaces import Paths, Planes
from ilora.lab.captions import rounds, rules, subspaces
from tests.factory import make_round

PATHS = Paths((1, 2), np.array([[0, 0], [1, 0], [2, 1]]), (np.array([[1, 1.0]]), np.array([[3, 1.0]])), 0.4)
SERIES = {
    "index": np.array([1, 2, 3]),
    "singular_values": np.array([[4, 2, 0.1], [4, 2, 0.04], [4, 2, 0.004]]),
    "singular_values_ideal": np.array([[4, 2, 1.0]] * 3),
    "energy_share": np.array([0.7, 0.9, 0.99]),
    "energy_share_ideal": np.array([0.7, 0.7, 0.7]),
    "effective_rank": np.array([2.5, 2.2, 2.0]),
    "effective_rank_ideal": np.array([2.6, 2.6, 2.6]),
}


def corrected(before, after, ratio, cosine):
    record = make_round(2, (2, 4))
    extra = {
        "gradient_norm": np.ones(2),
        "correction_norm": np.array(ratio),
        "cosine_to_correction": np.array(cosine),
        "cosine_to_mean": np.array(before),
        "corrected_cosine_to_mean": np.array(after),
    }
    return replace(record, clients=record.clients | extra)


def test_the_server_is_drawn_up_to_the_round_that_is_looked_at_and_clients_start_from_it():
    early, late = figures.paths(PATHS, 1, [2]), figures.paths(PATHS, 2, [2])
    server = next(trace for trace in early.data if trace.name == "server")
    assert list(server.x) == [0, 1]
    arrow = late.data[-1]
    assert (list(arrow.x), list(arrow.y)) == ([1, 3], [0, 1])
    assert "the only client moves 2.2 in this plane, the server 1.4" in subspaces.paths(PATHS, 2)
    two = PATHS._replace(clients=tuple(np.concatenate([ends, ends + 1]) for ends in PATHS.clients))
    assert "the clients move 2.2–3.6 in this plane" in subspaces.paths(two, 2)
    assert "40 %" in subspaces.paths(PATHS, 2)


def test_a_correction_is_drawn_at_its_angle_from_the_tip_of_the_own_step():
    figure = figures.corrections(corrected([0, 0], [0, 0], ratio=[0.5, 1.0], cosine=[0.0, -1.0]))
    own, correction, total = figure.data
    assert own.y[1] - own.y[0] == 1
    assert (correction.x[1] - correction.x[0], correction.y[1] - correction.y[0]) == pytest.approx((0.5, 0.0))
    assert (total.x[4] - total.x[3], total.y[4] - total.y[3]) == pytest.approx((0.0, 0.0), abs=1e-9)  # cancelled


def test_the_sentences_count_the_clients_that_are_turned():
    record = corrected([0.2, 0.9], [0.6, 0.5], ratio=[0.5, 2.0], cosine=[-0.3, 0.4])
    assert "turns 1 of 2 clients closer" in subspaces.turned(record)
    assert "from 0.55 to 0.55" in subspaces.turned(record)
    said = subspaces.corrections(record)
    assert "strongest for client 2 (rank 4), 2.0 times" in said
    assert "For 1 of 2 clients" in said
    nothing = corrected([0, 0], [0, 0], ratio=[0, 0], cosine=[0, 0])
    assert "all clients remember the same" in subspaces.corrections(nothing)
    assert "still zero" in subspaces.corrections(replace(nothing, index=1))
    assert "nothing is corrected" in subspaces.turned(nothing)


def test_collapse_is_said_where_the_server_is_poorer_than_the_ideal():
    assert "No sign of collapse" in subspaces.energy(SERIES, 1, 2)
    assert "rank 2 holds 99 % of the server's update and 70 % of the ideal. The server's update is collapsing." in (
        subspaces.energy(SERIES, 3, 2)
    )
    assert "singular value 3 of the server's update is 1 % of the largest, that of the ideal update 25 %" in (
        subspaces.spectra_over_rounds(SERIES, 2, 2)
    )
    assert "in round 1 the server's had 2.5" in subspaces.effective_ranks(SERIES, 3)


def test_spectra_are_shares_of_the_strongest_ideal_direction():
    figure = figures.spectra_over_rounds(SERIES, at=2, smallest=2)
    ideal, broadcast = figure.data
    assert ideal.customdata[2][0] == pytest.approx(25)
    assert broadcast.customdata[2][2] == pytest.approx(0.1)


def test_coverage_is_the_weight_behind_each_slot():
    record = make_round(1)
    found = next(iter(record.layers.values()))
    figure = figures.coverage(found, smallest=2)
    np.testing.assert_allclose(figure.data[0].y, 100 * found.coverage)
    assert "slot 16 belongs to clients with 10 % of the weight" in subspaces.coverage(found.coverage, 2)


def test_spectra_of_angles_stand_beside_chance():
    angles = {"client 2 (rank 4)": np.array([5.0, 40.0]), "client 3 (rank 8)": np.array([60.0, 80.0])}
    chance, whole = np.array([50.0, 70.0]), np.array([10.0, 20.0])
    figure = figures.angle_spectrum(angles, [4, 8], chance, whole)
    assert [list(trace.y) for trace in figure.data] == [[5, 40], [60, 80], [10, 20], [50, 70]]
    said = subspaces.angle_spectrum("client 1 (rank 2)", angles, chance)
    assert "closest to client 2 (rank 4), 22° on average, and furthest from client 3 (rank 8), 70°" in said
    assert "random subspaces would be 60° apart" in said


def test_planes_of_rank_one_clients_are_lines():
    axes = np.zeros((2, 2, 3))
    axes[0, 0], axes[1] = [1, 0, 0], [[1, 0, 0], [0, 1, 0]]
    figure = figures.planes(Planes(axes, 1.0), ["client 1 (rank 1)", "client 2 (rank 4)"], [1, 4])
    assert [trace.type for trace in figure.data].count("mesh3d") == 1
    assert "hold 100 %" in subspaces.planes(Planes(axes, 1.0), ["client 1 (rank 1)", "client 2 (rank 4)"])


def test_one_client_alone_is_compared_with_nobody():
    alone = ["client 3 (rank 2)"]
    assert "stands alone" in subspaces.planes(Planes(np.ones((1, 2, 3)), 1.0), alone)
    whole = SERIES | {name: np.ones(3) for name in ("energy_share", "energy_share_ideal")}
    assert "nothing beyond it to lose" in subspaces.energy(whole, 3, 2)
    assert "slots 3 to 4" in subspaces.coverage(np.array([1, 0.5, 0, 0]), 1)
    assert "nothing to average" in rules.rules([], [2])
    history = pd.DataFrame({"index": [1], "cosine": [float("nan")]})
    assert "it takes two clients" in rounds.over_rounds("cosine", history)

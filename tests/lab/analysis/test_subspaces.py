"""Planes, angles and paths against dense numpy."""

import numpy as np
import pytest
import torch

from ilora import diagnostics
from ilora.lab.analysis import subspaces

DRAW = np.random.default_rng(0)


def product(rank, d_in=9, d_out=7):
    return DRAW.normal(size=(rank, d_in)), DRAW.normal(size=(d_out, rank))


def dense(pair):
    return pair[1] @ pair[0]


def test_movements_are_the_dense_differences_of_scaled_products():
    kept = {
        f"{when}/{f}": DRAW.normal(size=(2, *shape))
        for when in ("start", "trained")
        for f, shape in (("A", (3, 9)), ("B", (7, 3)))
    }
    moves = subspaces.movements(kept, [2, 3], [0.5, 2.0])
    for k, (rank, scale) in enumerate(((2, 0.5), (3, 2.0))):
        ends = [kept[f"{when}/B"][k][:, :rank] @ kept[f"{when}/A"][k][:rank] for when in ("start", "trained")]
        np.testing.assert_allclose(dense(moves[k]), scale * (ends[1] - ends[0]), atol=1e-10)


def test_directions_are_those_of_the_dense_matrix():
    pair = product(3)
    U, S, V = subspaces.directions(pair, 2)
    sigma = np.linalg.svd(dense(pair), compute_uv=False)
    np.testing.assert_allclose(S, sigma[:2])
    np.testing.assert_allclose(dense(pair) @ V, U * S, atol=1e-10)
    assert subspaces.directions(pair, 5)[1].shape == (3,)


def test_angles_agree_with_the_diagnostics():
    X, Y = (np.linalg.qr(DRAW.normal(size=(12, r)))[0] for r in (3, 2))
    np.testing.assert_allclose(
        subspaces.principal_angles(X, Y), diagnostics.principal_angles(torch.tensor(X), torch.tensor(Y)).numpy(), atol=1e-4
    )


def test_chance_is_reproducible_and_falls_with_the_room():
    assert np.array_equal(subspaces.chance_angles(2, 3, 20), subspaces.chance_angles(2, 3, 20))
    assert subspaces.chance_angles(2, 3, 200).mean() > subspaces.chance_angles(2, 3, 6).mean()


def test_clients_in_three_common_dimensions_are_held_whole():
    common = np.linalg.qr(DRAW.normal(size=(20, 3)))[0]
    spaces = [common @ np.linalg.qr(DRAW.normal(size=(3, 2)))[0] for _ in range(4)]
    planes = subspaces.common_planes(spaces)
    assert planes.share == pytest.approx(1)
    np.testing.assert_allclose(np.linalg.norm(planes.axes, axis=2), 1, atol=1e-9)
    for i in range(4):
        np.testing.assert_allclose(planes.axes[0] @ planes.axes[i].T, spaces[0].T @ spaces[i], atol=1e-9)


def test_a_client_of_rank_one_has_one_direction():
    planes = subspaces.common_planes([np.eye(5)[:, :1], np.eye(5)[:, :2]])
    np.testing.assert_allclose(planes.axes[0, 1], 0)


def test_gram_is_the_dense_one():
    pairs = [product(rank) for rank in (1, 4, 2)]
    flat = np.stack([dense(pair).ravel() for pair in pairs])
    np.testing.assert_allclose(subspaces.gram(pairs), flat @ flat.T, atol=1e-9)


def test_the_plane_is_the_dense_pca():
    wholes, moves = [product(2) for _ in range(4)], [[product(1), product(2)] for _ in range(3)]
    before = [dense(whole) for whole in wholes]
    points = np.stack(before + [before[t] + dense(move) for t in range(3) for move in moves[t]]).reshape(10, -1)
    centred = points - points.mean(0)
    U, S, _ = np.linalg.svd(centred, full_matrices=False)
    expected = U[:, :2] * S[:2]
    paths = subspaces.common_plane([1, 2, 3], wholes, moves)
    found = np.concatenate([paths.server, *paths.clients])
    distances = np.linalg.norm(expected[:, None] - expected[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=2), distances, atol=1e-8)
    assert paths.share == pytest.approx((S[:2] ** 2).sum() / (S**2).sum())
    np.testing.assert_allclose(paths.server[0], 0)

"""Where updates lie: planes, angles and paths, from the factors that a round keeps. Plain numpy, for whatever only looks.

A product is a pair (A (S, d_in), B (d_out, S)); its inner products come from Gram identities, never from the dense matrix.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ilora.records import Array

Product = tuple[Array, Array]
CHANCE_DRAWS = 20  # random pairs of subspaces that the chance level is the mean of


def movements(kept: dict[str, Array], ranks: Sequence[int], scales: Sequence[float]) -> list[Product]:
    """D_k = s_k (B'_k A'_k - B_k A_k) of every client, exactly zero where nobody moved; from a round's kept factors."""
    moves = []
    for k, (rank, scale) in enumerate(zip(ranks, scales, strict=True)):
        A0, A = (kept[f"{when}/A"][k, :rank].astype(float) for when in ("start", "trained"))
        B0, B = (kept[f"{when}/B"][k, :, :rank].astype(float) for when in ("start", "trained"))
        moves.append((np.concatenate([A, A - A0]), scale * np.concatenate([B - B0, B0], 1)))
    return moves


def directions(product: Product, rank: int) -> tuple[Array, Array, Array]:
    """U (d_out, r), S (r,), V (d_in, r): the leading directions of a product; fewer where it has fewer."""
    A, B = product
    Q_b, R_b = np.linalg.qr(B)
    Q_a, R_a = np.linalg.qr(A.T)
    U, S, Vh = np.linalg.svd(R_b @ R_a.T)
    count = min(rank, int((1e-7 * max(float(S[0]), 1e-12) < S).sum()))
    return (Q_b @ U)[:, :count], S[:count], (Q_a @ Vh.T)[:, :count]


def principal_angles(X: Array, Y: Array) -> Array:
    """Principal angles in degrees, smallest first, between the columns of orthonormal X (d, i) and Y (d, j)."""
    cosines = np.linalg.svd(X.T @ Y, compute_uv=False)[: min(X.shape[1], Y.shape[1])]
    return np.degrees(np.arccos(cosines.clip(0, 1)))


def chance_angles(i: int, j: int, dimension: int) -> Array:
    """What `principal_angles` gives for random subspaces of these sizes: the mean of CHANCE_DRAWS fixed draws."""
    draw = np.random.default_rng((i, j, dimension))
    pairs = [[np.linalg.qr(draw.normal(size=(dimension, size)))[0] for size in (i, j)] for _ in range(CHANCE_DRAWS)]
    return np.mean([principal_angles(X, Y) for X, Y in pairs], 0)


class Planes(NamedTuple):
    """The clients' first two directions in three common ones: `axes` (K, 2, 3), and the share of their length that these hold."""

    axes: Array
    share: float


def common_planes(spaces: Sequence[Array]) -> Planes:
    """Each client's first two directions (of (d, r), orthonormal) in the three directions that all of them share most."""
    pairs = [np.pad(space[:, :2], ((0, 0), (0, 2 - min(2, space.shape[1])))) for space in spaces]
    U, S, _ = np.linalg.svd(np.concatenate(pairs, 1), full_matrices=False)
    basis = np.pad(U[:, :3], ((0, 0), (0, max(0, 3 - U.shape[1]))))
    basis = basis * np.where(basis.sum(0) < 0, -1.0, 1.0)
    axes = np.stack([pair.T @ basis for pair in pairs])
    return Planes(axes, float((S[:3] ** 2).sum() / max((S**2).sum(), 1e-12)))


def gram(products: Sequence[Product]) -> Array:
    """(N, N) inner products <P_i, P_j> = sum (B_i^T B_j) * (A_i A_j^T)."""
    starts = np.cumsum([0, *(len(A) for A, _ in products)])[:-1]
    all_A, all_B = np.concatenate([A for A, _ in products]), np.concatenate([B for _, B in products], 1)
    rows = [np.add.reduceat(((B.T @ all_B) * (A @ all_A.T)).sum(0), starts) for A, B in products]
    return np.array(rows)


class Paths(NamedTuple):
    """Where the server and its clients were, in the plane that holds most of it."""

    rounds: tuple[int, ...]
    server: Array  # (T + 1, 2), the first is where the first of these rounds began
    clients: tuple[Array, ...]  # for each round (C, 2): where its clients ended
    share: float  # of the squared distances from the centre that the plane holds


def common_plane(rounds: Sequence[int], wholes: Sequence[Product], moves: Sequence[Sequence[Product]]) -> Paths:
    """PCA of the server's positions G_t and of the clients' ends G_{t-1} + D_{t,k}, seen from the first position.

    wholes: T + 1 positions, the first is where rounds[0] began; moves[t][k] is the movement of client k in rounds[t].
    """
    elements = [*wholes, *(move for own in moves for move in own)]
    unit, T = np.eye(len(elements)), len(rounds)
    starts = [t for t, own in enumerate(moves) for _ in own]
    points = np.concatenate([unit[: T + 1], unit[T + 1 :] + unit[starts]])
    between = points @ gram(elements) @ points.T
    centred = between - between.mean(0) - between.mean(1)[:, None] + between.mean()
    values, vectors = np.linalg.eigh(centred)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    flat = vectors[:, :2] * np.sqrt(values[:2])
    flat = flat - flat[0]
    flat = flat * np.where(flat[T] < 0, -1.0, 1.0)
    ends = np.split(flat[T + 1 :], np.cumsum([len(own) for own in moves])[:-1])
    return Paths(tuple(rounds), flat[: T + 1], tuple(ends), float(values[:2].sum() / max(values.sum(), 1e-300)))

"""The record of a round against dense numpy on the factors that it keeps: what is shown is what was computed."""

import numpy as np
import pytest

from ilora.lora.scaling import Scaling
from ilora.simulation.round_loop import Simulation
from tests.toy import LAYERS, dense_qr, length, small_tasks, toy_experiment, toy_weight, updates

METHODS = {
    "ilora": ("ilora", {}),
    "official": ("ilora", {"mode": "official"}),
    "fedit": ("fedit", {}),
    "flora": ("flora", {}),
    "flexlora": ("flexlora", {}),
}
RANKS = [2, 4, 3, 1]


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


def initial_offset(name, rank, official):
    theta = toy_weight(name).double().numpy()
    Q, R = dense_qr(theta)
    product = Q[:, :rank] @ R[:rank]
    return product * (1e-4 * np.sqrt(theta.size) / length(product)) if official else product


@pytest.mark.parametrize("name", METHODS)
def test_two_rounds_of_records_are_the_dense_formulas_on_the_kept_factors(name):
    method, options = METHODS[name]
    simulation = Simulation(toy_experiment(method=method, options=options, ranks=RANKS))
    s = Scaling.parse("16/r" if name == "official" else 1.0)
    below = {layer: np.zeros(shape) for layer, shape in LAYERS.items()}  # merged before this round
    for t in (1, 2):
        record = simulation.next_round()
        p = record.clients["weight"].astype(float)
        total_error = total_ideal = 0.0
        for layer, G in updates(simulation).items():
            kept, moves, ideal = record.layers[layer], [], below[layer].copy()
            for k, r in enumerate(RANKS):
                A0, B0, A, B = (
                    record.factors[f"{layer}/{when}/{f}"][k].astype(float) for when in ("start", "trained") for f in "AB"
                )
                moves.append(s(r) * (B @ A - B0 @ A0))
                offset = initial_offset(layer, r, name == "official") if name == "official" or (name == "ilora" and t == 1) else 0
                ideal += p[k] * (s(r) * B @ A - offset)
            mean = sum(w * D for w, D in zip(p, moves, strict=True))
            assert kept.ideal_norm == pytest.approx(length(ideal), rel=1e-4)
            assert kept.update_norm == pytest.approx(length(G), rel=1e-4)
            assert kept.aggregation_error == pytest.approx(length(G - ideal), abs=2e-6)
            assert kept.relative_error == pytest.approx(kept.aggregation_error / kept.ideal_norm, rel=1e-6)
            np.testing.assert_allclose(kept.movement_norm, [length(D) for D in moves], rtol=1e-4)
            distances = np.array([length(D - mean) / length(mean) for D in moves])
            np.testing.assert_allclose(kept.drift_clients, distances, rtol=1e-3)
            assert kept.drift == pytest.approx((p * distances**2).sum(), rel=1e-3)
            flat = np.stack([D.ravel() / length(D) for D in moves])
            np.testing.assert_allclose(kept.cosines, flat @ flat.T, atol=1e-4)
            assert kept.cosine == pytest.approx((flat @ flat.T)[np.triu_indices(4, 1)].mean(), abs=1e-4)
            sigma = np.linalg.svd(G, compute_uv=False)
            share = sigma[sigma > 1e-12] / sigma.sum()
            np.testing.assert_allclose(kept.singular_values, sigma[:4], atol=1e-5)
            assert kept.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-2)
            assert kept.energy_share == pytest.approx((sigma[:1] ** 2).sum() / (sigma**2).sum(), abs=1e-4)
            np.testing.assert_allclose(kept.coverage, [1, p[:3].sum(), p[1] + p[2], p[1]], atol=1e-6)
            whole = record.factors[f"{layer}/whole/B"] @ record.factors[f"{layer}/whole/A"]
            np.testing.assert_allclose(whole, G, atol=1e-5 if len(sigma[sigma > 1e-6 * sigma[0]]) <= 8 else 2 * sigma[8])
            overlaps(kept, moves)
            broadcasts(simulation, kept, layer, G, name, s)
            total_error += length(G - ideal) ** 2
            total_ideal += length(ideal) ** 2
            if name == "flora":
                below[layer] = G
        assert record.aggregation_error == pytest.approx(np.sqrt(total_error / total_ideal), abs=1e-4)
        assert record.train_loss == pytest.approx((p * record.clients["train_loss"]).sum(), rel=1e-5)
        for field in ("alignment", "drift", "cosine", "effective_rank", "energy_share", "chance"):
            mean_of_layers = np.mean([getattr(layer, field) for layer in record.layers.values()])
            assert getattr(record, field) == pytest.approx(mean_of_layers)


def overlaps(kept, moves):
    bases = []
    for D, r in zip(moves, RANKS, strict=True):
        U, _, Vh = np.linalg.svd(D)
        bases.append((U[:, :r], Vh[:r].T))
    means, chances = [], []
    for i in range(4):
        for j in range(4):
            fewest = min(RANKS[i], RANKS[j])
            columns, rows = (length(bases[i][side].T @ bases[j][side]) ** 2 / fewest for side in (0, 1))
            assert kept.overlap_columns[i, j] == pytest.approx(columns, abs=2e-3)
            assert kept.overlap_rows[i, j] == pytest.approx(rows, abs=2e-3)
            if i < j:
                means.append((columns + rows) / 2)
                most, (d_out, d_in) = max(RANKS[i], RANKS[j]), moves[0].shape
                chances.append((most / d_out + most / d_in) / 2)
    assert kept.alignment == pytest.approx(np.mean(means), abs=2e-3)
    assert kept.chance == pytest.approx(np.mean(chances), abs=1e-6)


def broadcasts(simulation, kept, layer, G, name, s):
    """What each client would stand at after the next broadcast, against G."""
    sent = simulation.server.broadcast(range(len(RANKS)))
    parameters, base = sent.parameters, sent.base
    for k, r in enumerate(RANKS):
        A, B = (parameters[f"{layer}.{f}"][k].double().numpy() for f in "AB")
        W = s(r) * B @ A
        W = W + base.merged[layer].double().numpy() if layer in base.merged else W
        W = W - base.offsets[layer][k].product().double().numpy() if layer in base.offsets else W
        assert kept.broadcast_error[k] == pytest.approx(length(W - G) / length(G), abs=1e-4), name

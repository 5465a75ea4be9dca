"""Scores of the server's model and of each client's, against counting by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from ilora.simulation.evaluation import own_mixture, score, score_clients, score_server
from ilora.training.vectorised import VectorisedEngine
from tests.stacked_clients import dense_logits, draw_setting, make_stacked
from tests.toy import CARD, load_toy


def test_client_and_server_scores_are_those_of_the_dense_models():
    parameters, base = draw_setting()
    engine, test = VectorisedEngine(make_stacked(), load_toy().train, 2**30), load_toy().test
    counts = torch.tensor([[5, 0, 0, 0], [1, 1, 1, 1], [0, 3, 9, 0], [2, 2, 0, 0]])
    scores = score_clients("accuracy", engine.logits(parameters, base, test), test, test.labels, counts)
    for k in range(4):
        logits = dense_logits(parameters, base, k, test.inputs["x"])
        right = (logits.argmax(1) == test.labels).double().numpy()
        assert float(scores.accuracy[k]) == pytest.approx(right.mean(), abs=1e-6)
        assert float(scores.loss[k]) == pytest.approx(float(functional.cross_entropy(logits, test.labels)), abs=1e-5)
        per_class = np.array([right[test.labels.numpy() == c].mean() for c in range(4)])
        share = counts[k].numpy() / counts[k].sum().item()
        assert float(scores.personal_accuracy[k]) == pytest.approx((share * per_class).sum(), abs=1e-6)
        one = {name: tensor[k : k + 1] for name, tensor in parameters.items()}
        server = score_server(CARD, engine.logits(one, base[[k]], test)[0], test, {})
        assert server[:2] == pytest.approx((float(scores.accuracy[k]), float(scores.loss[k])), abs=1e-5)
        assert server.scores == {"accuracy": server.accuracy}


def test_a_further_test_set_gets_its_own_score():
    parameters, base = draw_setting()
    engine, test = VectorisedEngine(make_stacked(), load_toy().train, 2**30), load_toy().test
    one, card = {name: tensor[:1] for name, tensor in parameters.items()}, replace(CARD, metrics=("matthews", "accuracy"))
    logits = engine.logits(one, base[[0]], test)[0]
    server = score_server(card, logits, test, {"again": (logits[:10], test.labels[:10])})
    right = dense_logits(parameters, base, 0, test.inputs["x"][:10]).argmax(1) == test.labels[:10]
    assert server.scores.keys() == {"matthews", "accuracy", "accuracy again"}
    assert server.scores["accuracy again"] == pytest.approx(float(right.double().mean()))


def test_a_class_without_a_test_sample_does_not_count():
    weights = own_mixture(torch.tensor([0, 0, 1]), torch.tensor([[1, 1, 7]]))
    assert score("accuracy", torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), weights[0]) == pytest.approx((0.5 + 1) / 2)


def test_a_client_that_holds_nothing_of_what_is_tested_is_scored_on_all_of_it():
    assert own_mixture(torch.tensor([0, 0]), torch.tensor([[0, 4]])).tolist() == [[1, 1]]

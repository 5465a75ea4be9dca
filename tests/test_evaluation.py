"""Scores of the server's model and of each client's, against counting by hand."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from ilora.evaluation import reweighted, score_clients, score_server
from ilora.training import VectorisedEngine
from tests.test_stacked import dense_logits, draw_setting, make_stacked
from tests.toy import load_toy


def test_client_and_server_scores_are_those_of_the_dense_models():
    parameters, base = draw_setting()
    engine, test = VectorisedEngine(make_stacked(), load_toy().train, 2**30), load_toy().test
    counts = torch.tensor([[5, 0, 0, 0], [1, 1, 1, 1], [0, 3, 9, 0], [2, 2, 0, 0]])
    scores = score_clients(engine, parameters, base, test, counts)
    for k in range(4):
        logits = dense_logits(parameters, base, k, test.inputs["x"])
        right = (logits.argmax(1) == test.labels).double().numpy()
        assert float(scores.accuracy[k]) == pytest.approx(right.mean(), abs=1e-6)
        assert float(scores.loss[k]) == pytest.approx(float(functional.cross_entropy(logits, test.labels)), abs=1e-5)
        per_class = np.array([right[test.labels.numpy() == c].mean() for c in range(4)])
        share = counts[k].numpy() / counts[k].sum().item()
        assert float(scores.personal_accuracy[k]) == pytest.approx((share * per_class).sum(), abs=1e-6)
        one = {name: tensor[k : k + 1] for name, tensor in parameters.items()}
        accuracy, loss = score_server(engine, one, base[[k]], test)
        assert (accuracy, loss) == pytest.approx((float(scores.accuracy[k]), float(scores.loss[k])), abs=1e-5)


def test_a_class_without_a_test_sample_does_not_count():
    right = torch.tensor([[1.0, 0.0, 1.0]])
    got = reweighted(right, torch.tensor([0, 0, 1]), torch.tensor([[1, 1, 7]]))
    assert float(got) == pytest.approx((0.5 + 1) / 2)

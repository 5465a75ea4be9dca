"""One backbone with K clients' factors answers as K dense models would."""

import numpy as np
import torch

from tests.stacked_clients import dense_logits, draw_setting, make_stacked
from tests.toy import load_toy


def test_each_client_answers_as_its_own_dense_model():
    x = load_toy().train.inputs["x"][:20].reshape(4, 5, 3, 12)
    for merged in (False, True):
        for offsets in (False, True):
            parameters, base = draw_setting(merged, offsets)
            logits = make_stacked().forward(parameters, base, {"x": x}).logits
            for k in range(4):
                want = dense_logits(parameters, base, k, x[k])
                np.testing.assert_allclose(logits[k].numpy(), want.numpy(), atol=2e-5)


def test_some_of_the_clients_answer_as_they_do_among_all():
    x = load_toy().train.inputs["x"][:20].reshape(4, 5, 3, 12)
    parameters, base = draw_setting()
    model = make_stacked()
    whole = model.forward(parameters, base, {"x": x}).logits
    for some in ([3, 1], slice(1, 3)):
        part = model.forward({name: tensor[some] for name, tensor in parameters.items()}, base[some], {"x": x[some]}).logits
        torch.testing.assert_close(part, whole[some], atol=1e-5, rtol=0)


def test_theta_0_stays_where_it_is():
    model = make_stacked()
    parameters, base = draw_setting()
    theta_0 = model.linears["query"].frozen.weight
    before = theta_0.clone()
    model.forward(parameters, base, {"x": load_toy().train.inputs["x"][:8].reshape(4, 2, 3, 12)})
    assert torch.equal(theta_0, before)
    assert not theta_0.requires_grad

"""Four clients of different ranks on the toy model, and what each answers as a dense model of its own."""

import torch
from torch.func import functional_call

from ilora.lora.factors import Stack
from ilora.training.client_model import Base, StackedModel
from tests.toy import LAYERS, draw_clients, toy_model, toy_weight

RANKS = (2, 5, 1, 3)


def draw_setting(merged: bool = True, offsets: bool = True):
    """Parameters of four clients and the base beneath them, float32."""
    parameters, own_offsets, below = {}, {}, {}
    for name, (d_out, d_in) in LAYERS.items():
        stack = Stack.of(draw_clients(list(RANKS), d_out, d_in, seed=1, dtype=torch.float32), 6)
        parameters[f"{name}.A"], parameters[f"{name}.B"] = 0.3 * stack.A, 0.3 * stack.B
        own_offsets[name] = Stack.of(draw_clients(list(RANKS), d_out, d_in, seed=2, dtype=torch.float32), 6).scale([0.1] * 4)
        below[name] = 0.1 * torch.randn(d_out, d_in, generator=torch.Generator().manual_seed(d_in))
    draw = torch.Generator().manual_seed(0)
    parameters["head.classifier.weight"] = torch.randn(4, 4, 14, generator=draw)
    parameters["head.classifier.bias"] = torch.randn(4, 4, generator=draw)
    scales = torch.tensor([16 / r for r in RANKS]) / 4
    return parameters, Base(RANKS, scales, below if merged else {}, own_offsets if offsets else {})


def dense_logits(parameters, base, k, x):
    """Client k's logits from its own dense weights, in float64."""
    weights = {}
    for name in LAYERS:
        weight = toy_weight(name).double()
        weight = weight + float(base.scales[k]) * parameters[f"{name}.B"][k].double() @ parameters[f"{name}.A"][k].double()
        if name in base.merged:
            weight = weight + base.merged[name].double()
        if name in base.offsets:
            weight = weight - base.offsets[name].B[k].double() @ base.offsets[name].A[k].double()
        weights[f"{name}.weight"] = weight
    for part in ("weight", "bias"):
        weights[f"classifier.{part}"] = parameters[f"head.classifier.{part}"][k].double()
    return functional_call(toy_model().double(), weights, (x.double(),)).logits


def make_stacked():
    model = toy_model()
    return StackedModel(model, {"query": model.query, "value": model.value}, ["classifier"])

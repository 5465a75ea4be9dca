"""One plain name means the same layer in every architecture."""

from typing import Any

import pytest
import transformers as hf
from torch import nn

from ilora.tasks.backbones import find_linears

SIZES: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
PIXELS = {**SIZES, "image_size": 8, "patch_size": 4}
WORDS = {**SIZES, "vocab_size": 11}


def vit() -> nn.Module:
    return hf.ViTForImageClassification(hf.ViTConfig(**PIXELS))


def deit() -> nn.Module:
    return hf.DeiTForImageClassification(hf.DeiTConfig(**PIXELS))


def swin() -> nn.Module:
    config = hf.SwinConfig(embed_dim=8, depths=[2], num_heads=[2], image_size=8, patch_size=2, window_size=2, mlp_ratio=2.0)
    return hf.SwinForImageClassification(config)


def bert() -> nn.Module:
    return hf.BertForSequenceClassification(hf.BertConfig(**WORDS))


def roberta() -> nn.Module:
    return hf.RobertaForSequenceClassification(hf.RobertaConfig(**WORDS))


def distilbert() -> nn.Module:
    return hf.DistilBertForSequenceClassification(hf.DistilBertConfig(dim=8, n_layers=2, n_heads=2, hidden_dim=16, vocab_size=11))


def linear(name: str) -> nn.Module:
    """A chain of modules that ends in a linear, so that it is found under `name`."""
    first, _, rest = name.partition(".")
    return nn.ModuleDict({first: linear(rest) if rest else nn.Linear(2, 2)})


MODELS = [vit, deit, swin, bert, roberta, distilbert]
SQUARES = ["query", "key", "value", "output"]
PLAIN = [*SQUARES, "mlp-in", "mlp-out"]


@pytest.mark.parametrize("make", MODELS)
def test_each_plain_name_finds_one_linear_per_block_and_none_twice(make):
    model = make()
    found = [name for target in PLAIN for name in find_linears(model, [target])]
    assert len(found) == len(set(found)) == 2 * len(PLAIN)


@pytest.mark.parametrize("make", MODELS)
def test_plain_names_have_the_shapes_of_their_place(make):
    model = make()
    shapes = {target: {tuple(linear.weight.shape) for linear in find_linears(model, [target]).values()} for target in PLAIN}
    assert shapes == {target: {(8, 8)} for target in SQUARES} | {"mlp-in": {(16, 8)}, "mlp-out": {(8, 16)}}


@pytest.mark.parametrize("make", MODELS)
def test_the_head_is_never_found(make):
    assert not any(name.startswith("classifier") for name in find_linears(make(), PLAIN))


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("query", ["attention.attention.query", "attention.self.query", "self_attn.q_proj", "attention.q_lin"]),
        ("output", ["attention.output.dense", "attention.o_proj", "self_attn.out_proj", "attention.out_lin"]),
        ("mlp-in", ["intermediate.dense", "mlp.fc1", "ffn.lin1"]),
        ("mlp-out", ["layer.output.dense", "mlp.fc2", "ffn.lin2"]),
    ],
)
def test_older_and_newer_module_names_have_one_plain_name(target, names):
    assert [list(find_linears(linear(name), [target])) for name in names] == [[name] for name in names]


def test_mlp_out_is_not_the_attentions_output():
    with pytest.raises(ValueError, match=r"^targets: no linear is called 'mlp-out'; this model has output$"):
        find_linears(linear("attention.output.dense"), ["mlp-out"])


def test_linears_come_under_their_full_names_and_in_model_order():
    model = vit()
    found = find_linears(model, ["value", "query"])
    names = [name for name, _ in model.named_modules()]
    assert list(found) == sorted(found, key=names.index)
    assert all(model.get_submodule(name) is module for name, module in found.items())


def test_another_string_is_an_exact_suffix():
    assert list(find_linears(vit(), ["1.attention.q_proj"])) == ["vit.layers.1.attention.q_proj"]
    with pytest.raises(ValueError, match="'_proj'"):
        find_linears(vit(), ["_proj"])


def test_an_unknown_target_is_answered_with_the_names_that_exist():
    with pytest.raises(ValueError, match=r"^targets: no linear is called 'querry'; this model has query, .*, mlp-out, dense$"):
        find_linears(bert(), ["query", "querry"])


def test_a_target_that_only_the_head_has_is_unknown():
    with pytest.raises(ValueError, match="'classifier'"):
        find_linears(vit(), ["classifier"])
    with pytest.raises(ValueError, match="'pre_classifier'"):
        find_linears(distilbert(), ["pre_classifier"], head=("pre_classifier", "classifier"))

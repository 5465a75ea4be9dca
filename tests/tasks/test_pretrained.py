"""Any transformers model as a backbone: tiny ones of random weights, saved into a folder and trained a round by both engines."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from huggingface_hub import errors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DeiTConfig,
    DeiTForImageClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from ilora.api import run
from ilora.checks import FieldError
from ilora.simulation import round_loop as simulation_module
from ilora.simulation.round_loop import Simulation
from ilora.tasks import TASKS
from ilora.tasks.base import Data, Task
from ilora.tasks.catalogue import TaskCard
from ilora.tasks.pretrained import cut_padding, image_preparation, load_pretrained, load_tokenizer
from tests.laws import compare
from tests.toy import toy_experiment

PLAIN: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
TEXT: dict[str, Any] = {"vocab_size": 40, "max_position_embeddings": 32}
IMAGE: dict[str, Any] = {"image_size": 12, "patch_size": 4}
TINY: dict[str, Any] = {
    "vit": lambda: ViTForImageClassification(ViTConfig(**PLAIN, **IMAGE)),
    "deit": lambda: DeiTForImageClassification(DeiTConfig(**PLAIN, **IMAGE)),
    "swin": lambda: SwinForImageClassification(
        SwinConfig(image_size=16, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
    ),
    "bert": lambda: BertForSequenceClassification(BertConfig(**PLAIN, **TEXT)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**PLAIN, **TEXT)),
    "electra": lambda: ElectraForSequenceClassification(ElectraConfig(**PLAIN, **TEXT, embedding_size=8)),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, **TEXT)
    ),
}
IMAGES = ("vit", "deit", "swin")
HEADS = {"roberta": ("classifier",), "electra": ("classifier",), "distilbert": ("pre_classifier", "classifier")}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory) -> dict[str, str]:
    """A folder for each tiny model."""
    folders = {}
    for seed, (name, make) in enumerate(TINY.items()):
        torch.manual_seed(seed)
        folders[name] = str(tmp_path_factory.mktemp(name))
        make().save_pretrained(folders[name])
    return folders


def card(kind: str) -> TaskCard:
    return TaskCard("Any", "Random.", {}, ("a", "b", "c"), 60, 20, kind=kind, any_backbone=True)


def images(n: int, draw: torch.Generator) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.randint(0, 256, (n, 3, 8, 8), generator=draw, dtype=torch.uint8)}


def sentences(n: int, draw: torch.Generator) -> dict[str, torch.Tensor]:
    length = torch.randint(2, 9, (n, 1), generator=draw)
    mask = (torch.arange(10) < length).int()
    return {"input_ids": torch.randint(3, 40, (n, 10), generator=draw).int() * mask + (1 - mask), "attention_mask": mask}


def load(name: str, backbone: str, folder: str) -> Task:
    draw = torch.Generator().manual_seed(0)
    kind = TASKS[name].kind
    prepare = image_preparation(backbone) if kind == "image" else cut_padding
    stored = images if kind == "image" else sentences
    train, test = (Data(stored(n, draw), torch.randint(0, 3, (n,), generator=draw), prepare) for n in (60, 20))
    return Task(card(kind), train, test, lambda: load_pretrained(kind, backbone, 3))


@pytest.fixture(autouse=True)
def tasks(monkeypatch):
    for kind in ("image", "text"):
        monkeypatch.setitem(TASKS, f"any-{kind}", card(kind))
    monkeypatch.setattr(simulation_module, "load_task", load)


def experiment(zoo, name, **changes):
    task = "any-image" if name in IMAGES else "any-text"
    plain = {"task": task, "backbone": zoo[name], "ranks": [2, 4, 1], "local_steps": 2, "batch_size": 4, "optimizer": "sgd"}
    return toy_experiment(**(plain | changes))


@pytest.mark.parametrize("method", ["fedit", "ilora"])
@pytest.mark.parametrize("name", TINY)
def test_a_round_of_mixed_ranks_is_the_same_on_stock_peft(zoo, name, method):
    compare(experiment(zoo, name, method=method), rounds=1)


@pytest.mark.parametrize("name", TINY)
def test_every_plain_target_is_found_and_the_head_is_what_stands_beside_the_encoder(zoo, name):
    targets = ("query", "key", "value", "output", "mlp-in", "mlp-out")
    simulation = Simulation(experiment(zoo, name, targets=targets))
    blocks = len({layer.split("attention")[0] for layer in simulation.server.layers if "attention" in layer})
    assert len(simulation.server.layers) == 6 * blocks == 12
    assert load_pretrained("image" if name in IMAGES else "text", zoo[name], 3).head == HEADS.get(name, ("classifier",))
    assert {part.split(".")[1] for part in simulation.server.head} == set(HEADS.get(name, ("classifier",)))


def test_the_weights_are_the_folders_and_the_head_is_the_same_at_every_call(zoo):
    one, other = (cast(Any, load_pretrained("text", zoo["roberta"], 5).model) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))
    assert one.classifier.out_proj.weight.shape == (5, 16)
    saved = RobertaForSequenceClassification.from_pretrained(zoo["roberta"]).roberta.state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in one.roberta.state_dict().items())
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_an_adapter_on_swins_layers_of_different_widths_gives_the_servers_logits(zoo, tmp_path):
    from peft import PeftModel

    result = run(experiment(zoo, "swin", method="fedex-lora", rounds=2))
    result.adapter(4).save_pretrained(tmp_path)
    simulation = result.simulation
    peft = PeftModel.from_pretrained(load_pretrained("image", zoo["swin"], 3).model, str(tmp_path)).eval()
    want = simulation.engine.logits(*simulation.server.model(), simulation.client_data.test)[0]
    torch.testing.assert_close(peft(**simulation.client_data.test.rows(slice(None))).logits, want, atol=1e-5, rtol=0)


def test_images_are_resized_and_normalised_as_the_models_own_processor_does(zoo, tmp_path):
    ViTForImageClassification(ViTConfig(**PLAIN, **IMAGE)).save_pretrained(tmp_path)
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    processor = ViTImageProcessor(size={"height": 12, "width": 12}, image_mean=mean, image_std=std, resample=3)
    processor.save_pretrained(tmp_path)
    ramp = torch.arange(6 * 3)[:, None, None] * 8 + torch.arange(8)[:, None] * 6 + torch.arange(8) * 5
    stored = {"pixel_values": ramp.view(6, 3, 8, 8).to(torch.uint8)}
    ours = image_preparation(str(tmp_path))({"pixel_values": stored["pixel_values"].unflatten(0, (2, 3))})["pixel_values"]
    assert ours.shape == (2, 3, 3, 12, 12)
    theirs = processor(images=list(stored["pixel_values"]), return_tensors="pt")["pixel_values"]
    assert (ours.flatten(0, 1) - theirs).abs().max() < 0.02  # it rounds to bytes after resizing
    gray = image_preparation(zoo["vit"])({"pixel_values": torch.rand(2, 1, 8, 8)})["pixel_values"]
    assert gray.shape == (2, 3, 12, 12)


def test_padding_that_no_row_uses_is_cut_and_changes_no_answer(zoo):
    stored = sentences(5, torch.Generator().manual_seed(2))
    cut = cut_padding(stored)
    longest = int(stored["attention_mask"].sum(1).max())
    assert cut["input_ids"].shape == (5, longest)
    model = load_pretrained("text", zoo["bert"], 3).model
    full = {name: tensor.long() for name, tensor in stored.items()}
    torch.testing.assert_close(model(**cut).logits, model(**full).logits, atol=1e-6, rtol=0)


def one_sentence(error: Any) -> str:
    text = str(error.value)
    assert text.startswith("backbone is ")
    assert text.endswith(".")
    assert "\n" not in text
    assert "allowed: " in text
    return text


def test_what_cannot_be_loaded_is_refused_in_one_sentence_with_the_way_out(zoo, tmp_path):
    torch.manual_seed(0)
    bare, pickled, damaged, foreign, words, language = (tmp_path / name for name in ("a", "b", "c", "d", "e", "f"))
    for folder in (bare, pickled, damaged, foreign, words):
        folder.mkdir()
    model = TINY["vit"]()
    model.config.save_pretrained(pickled)
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    model.save_pretrained(damaged)
    weights = damaged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (foreign / "config.json").write_text(json.dumps({"model_type": "unheard-of"}))
    (words / "config.json").write_text("{")
    GPT2LMHeadModel(GPT2Config(n_embd=8, n_layer=1, n_head=1, vocab_size=9)).save_pretrained(language)
    cases = {
        str(bare): "config.json is missing",
        str(pickled): "no weights as safetensors",
        str(damaged): "truncated or damaged",
        str(foreign): "its config.json is missing",
        str(words): "its config.json is missing",
        str(language): "no classifier of images",
        "no folder//and no name": "neither a folder",
    }
    for name, reason in cases.items():
        with pytest.raises(ValueError, match="backbone") as error:
            load_pretrained("image", name, 3)
        assert reason in one_sentence(error), name
    with pytest.raises(ValueError, match="backbone") as error:
        load_tokenizer(str(bare))
    one_sentence(error)


@pytest.mark.parametrize("reason", ["gated", "unknown", "no network", "disk"])
def test_what_the_hub_refuses_is_told_apart(monkeypatch, reason):
    kinds: dict[str, type[BaseException]] = {
        "gated": errors.GatedRepoError,
        "unknown": errors.RepositoryNotFoundError,
        "no network": errors.LocalEntryNotFoundError,
    }
    cause = OSError(28, "No space left on device") if reason == "disk" else kinds[reason].__new__(kinds[reason])

    def fail(*args, **kwargs):
        raise OSError("transformers' own words") from cause

    monkeypatch.setattr("ilora.tasks.pretrained.AutoConfig.from_pretrained", fail)
    words = {"gated": "licence", "unknown": "neither a folder", "no network": "does not answer", "disk": "HF_HOME"}[reason]
    with pytest.raises(FieldError, match=words) as error:
        load_pretrained("image", "google/vit-base-patch16-224", 3)
    assert error.value.field == "backbone"
    one_sentence(error)


def test_ranks_and_targets_are_checked_against_the_model_itself(zoo):
    with pytest.raises(ValueError, match=r"ranks is 9; allowed: .* 8, the smallest dimension"):
        Simulation(experiment(zoo, "swin", ranks=[2, 9]))
    with pytest.raises(ValueError, match="no linear is called 'qkv'"):
        Simulation(experiment(zoo, "vit", targets=["qkv"]))
    with pytest.raises(ValueError, match="targets"):
        experiment(zoo, "vit", targets=["qkv; rm"])


def test_a_task_that_names_its_backbones_takes_no_other(zoo, monkeypatch):
    monkeypatch.setitem(TASKS, "any-text", replace(card("text"), any_backbone=False))
    with pytest.raises(ValueError, match="backbone is "):
        experiment(zoo, "bert")
    assert Path(zoo["bert"]).is_dir()

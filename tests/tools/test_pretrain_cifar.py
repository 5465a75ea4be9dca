"""The pretraining script: it goes on where it stopped, to the same numbers, and what it writes is what the task loads."""

import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers.models.vit.modeling_vit import ViTAttention

from ilora.tasks import cifar, data_folder
from ilora.tasks.cards import CIFAR100_NAMES, UNSEEN
from ilora.tasks.cifar import load_backbone, small_vit
from ilora.tasks.cifar_files import Images
from tools.pretrain.pretrain_cifar import (
    BATCH,
    Trainer,
    batches,
    describe,
    imitate_trained_attention,
    logits,
    pretrain,
    save_backbone,
)


@pytest.fixture(scope="module")
def data() -> Images:
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (BATCH + 20, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return Images(pixels, torch.arange(BATCH + 20) % 3)


def test_a_stopped_pretraining_goes_on_to_the_same_numbers_and_its_file_loads(data, tmp_path, monkeypatch):
    save = Trainer.save

    def save_and_keep(trainer: Trainer, path) -> None:
        save(trainer, path)
        shutil.copy(path, tmp_path / f"after-{trainer.epoch}")

    monkeypatch.setattr(Trainer, "save", save_and_keep)
    whole = pretrain(data, 3, epochs=2, whole=1, seed=1, checkpoint=tmp_path / "checkpoint")
    resumed = pretrain(data, 3, epochs=2, whole=1, seed=1, checkpoint=tmp_path / "after-1")
    assert resumed.epoch == 2
    assert all(torch.equal(a, b) for a, b in zip(whole.weights, resumed.weights, strict=True))

    save_backbone(whole.trained(), tmp_path / "cifar-vit.safetensors")
    monkeypatch.setattr(cifar, "data_folder", lambda: tmp_path)
    loaded = load_backbone("cifar-vit", 7).model.state_dict()
    for name, tensor in whole.trained().state_dict().items():
        if not name.startswith("classifier"):
            assert torch.equal(loaded[name], tensor.half().float())


def test_an_epoch_repeats_itself_and_drops_half_of_the_patches_unless_whole(data):
    first, again, other = (list(batches(data, epoch, seed=0, whole=False)) for epoch in (0, 0, 1))
    assert torch.equal(first[0][0], again[0][0])
    assert not torch.equal(first[0][0], other[0][0])
    assert first[0][2] is not None
    assert first[0][2].shape == (BATCH, 32)
    assert next(batches(data, 0, seed=0, whole=True))[2] is None


def test_with_every_patch_kept_in_order_the_logits_are_the_models_own(data):
    model = small_vit(3).eval()
    pixels = torch.randn(4, 3, 32, 32)
    everything = torch.arange(64).expand(4, -1)
    with torch.no_grad():
        assert torch.allclose(logits(model, pixels, everything), model(pixel_values=pixels).logits, atol=1e-5)


def test_attention_starts_near_the_identity():
    torch.manual_seed(0)
    model = small_vit(3)
    imitate_trained_attention(model)
    attention: Any = next(module for module in model.modules() if isinstance(module, ViTAttention))
    with torch.no_grad():
        answers = attention.o_proj.weight @ attention.v_proj.weight
        looks = attention.q_proj.weight[:32].T @ attention.k_proj.weight[:32]
    assert answers.diagonal().mean().item() == pytest.approx(-0.4, abs=0.03)
    beside = (looks.sum() - looks.trace()) / (160 * 159)
    assert looks.diagonal().mean() > 10 * beside.abs()


def test_the_twins_card_names_the_classes_that_are_left(data):
    card = describe(Trainer(3, 1, 0, "cpu"), data_folder() / "cifar-vit-50.safetensors", True, data, data, 0)
    left = card.partition("Left for the task: ")[2].replace("\n", " ").strip().rstrip(".").split(", ")
    assert left == [CIFAR100_NAMES[label] for label in UNSEEN]
    assert "947,680 parameters" in card


@pytest.mark.parametrize("name", ["cifar-vit", "cifar-vit-50"])
def test_the_shipped_files_are_in_half_precision_without_a_head_and_have_a_card(name):
    tensors = load_file(data_folder() / f"{name}.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert sum(tensor.numel() for tensor in tensors.values()) == 947_680
    assert f"# {name}.safetensors" in (data_folder() / f"{name}.md").read_text()

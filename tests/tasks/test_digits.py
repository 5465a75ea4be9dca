"""The embedded task: its digits, its backbone, and that the card tells the truth about both."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ilora.checks import FieldError
from ilora.tasks import LETTERS_VIT, TASKS, data_folder, load_task
from ilora.tasks.backbones import find_linears
from ilora.tasks.digits import WEIGHTS, load_backbone, tiny_vit
from tools.pretrain.pretrain_digits import LETTERS, batch, glyphs, pretrain, save_backbone

CARD = TASKS["digits"]


@pytest.fixture(scope="module")
def task():
    return load_task("digits")


@pytest.fixture(scope="module")
def model():
    return load_backbone().model


def features(model: nn.Module, images: Tensor) -> Tensor:
    """What the head sees: (n, 64)."""
    with torch.no_grad():
        return model.get_submodule("vit")(pixel_values=images).last_hidden_state[:, 0]


def test_the_split_has_the_cards_sizes(task):
    assert (len(task.train), len(task.test)) == (CARD.train_samples, CARD.test_samples) == (1437, 360)


def test_pixels_are_float32_in_0_to_1_and_labels_int64(task):
    for data in (task.train, task.test):
        pixels = data.inputs["pixel_values"]
        assert pixels.shape == (len(data), 1, 8, 8)
        assert pixels.dtype == torch.float32
        assert (pixels.min().item(), pixels.max().item()) == (0, 1)
        assert data.labels.dtype == torch.int64


def test_the_split_is_stratified_and_the_same_at_every_load(task):
    counts = torch.bincount(task.test.labels, minlength=len(CARD.classes))
    assert (min(counts.tolist()), max(counts.tolist())) == (35, 37)
    assert torch.equal(task.train.inputs["pixel_values"], load_task("digits").train.inputs["pixel_values"])


def test_train_and_test_share_no_image(task):
    train, test = ({tuple(image.flatten().tolist()) for image in data.inputs["pixel_values"]} for data in (task.train, task.test))
    assert not train & test


def test_the_backbone_is_frozen_in_eval_mode_and_has_ten_logits(task, model):
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model(pixel_values=task.test.inputs["pixel_values"][:2]).logits.shape == (2, len(CARD.classes))


def test_the_card_tells_the_shapes_of_the_linears(model):
    linears = {target: find_linears(model, [target]).values() for target in LETTERS_VIT.linears}
    found = {target: {tuple(linear.weight.shape) for linear in own} for target, own in linears.items()}
    assert found == {target: {shape} for target, shape in LETTERS_VIT.linears.items()}


def test_every_load_gives_the_same_backbone_and_head_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = load_backbone().model.state_dict(), load_backbone().model.state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert torch.equal(before, torch.get_rng_state())


def test_pretraining_is_worth_something_nearest_class_mean_beats_an_untrained_backbone(task, model):
    def nearest_mean(network: nn.Module) -> float:
        train, test = (features(network, data.inputs["pixel_values"]) for data in (task.train, task.test))
        means = torch.stack([train[task.train.labels == digit].mean(dim=0) for digit in range(10)])
        return (torch.cdist(test, means).argmin(dim=1) == task.test.labels).float().mean().item()

    torch.manual_seed(0)
    assert nearest_mean(model) > nearest_mean(tiny_vit(labels=10).eval()) + 0.2


@pytest.mark.parametrize("content", [None, b"", b"not a safetensors file", "cut", "other tensors"])
def test_a_missing_or_damaged_file_is_named_with_the_command_that_remakes_it(tmp_path: Path, content):
    path = tmp_path / "backbone.safetensors"
    whole = (data_folder() / WEIGHTS).read_bytes()
    if content == "other tensors":
        path.write_bytes(whole.replace(b"cls_token", b"xyz_token"))
    elif content is not None:
        path.write_bytes(whole[:-100] if content == "cut" else content)
    with pytest.raises(FieldError, match=r"backbone\.safetensors is missing or damaged; .*-m tools.pretrain.pretrain_digits"):
        load_backbone(path)


def test_the_embedded_file_is_small():
    assert (data_folder() / WEIGHTS).stat().st_size < 1_000_000


def test_an_unknown_task_is_answered_with_what_there_is():
    with pytest.raises(ValueError, match=r"^task: 'digit' is not one of digits"):
        load_task("digit")


def test_the_cards_are_there_without_torch():
    code = "import sys, ilora.tasks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=data_folder().parent)


def test_letters_look_like_digits_ink_in_sixteenths_on_empty_paper():
    images, labels = batch(glyphs(), 500, torch.Generator().manual_seed(0))
    assert images.shape == (500, 1, 8, 8)
    assert labels.max() < len(LETTERS)
    assert torch.equal(images * 16, (images * 16).round())
    assert 0.2 < images.mean() < 0.4
    assert images.view(500, -1).amax(dim=1).min() > 0.2


def test_pretraining_repeats_itself_and_its_file_loads(tmp_path: Path):
    first, second = pretrain(steps=2, seed=1), pretrain(steps=2, seed=1)
    assert all(torch.equal(tensor, second.state_dict()[name]) for name, tensor in first.state_dict().items())
    save_backbone(first, tmp_path / "new.safetensors")
    loaded = load_backbone(tmp_path / "new.safetensors").model.state_dict()
    body = [name for name in loaded if not name.startswith("classifier")]
    assert body
    assert all(torch.equal(loaded[name], first.state_dict()[name]) for name in body)

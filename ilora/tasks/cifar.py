"""CIFAR-10 and CIFAR-100, and the small ViTs that were pretrained on CIFAR-100, or on half of its classes, for them.

The images lie in memory as bytes; they are mirrored, shifted and normalised in batch on their device when they are needed. With
`cifar-vit-50`, CIFAR-100 is the fifty classes that this backbone has never seen.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from ilora.tasks import TASKS, data_folder
from ilora.tasks.backbones import load_embedded
from ilora.tasks.base import Backbone, Data, Inputs, Task
from ilora.tasks.cards import CIFAR_VIT, CIFAR_VIT_50, UNSEEN
from ilora.tasks.cifar_files import CIFAR10, CIFAR100, Images, Layout, find_or_fetch, read_test, read_train
from ilora.tasks.download import Watch, progress_bar
from ilora.tasks.places import cache_folder
from ilora.tasks.pretrained import image_preparation, load_pretrained
from ilora.tasks.styles import IMAGE_STYLES

LAYOUTS: dict[str, Layout] = {"cifar10": CIFAR10, "cifar100": CIFAR100}
SCRIPTS = {
    CIFAR_VIT: "python -m tools.pretrain.pretrain_cifar",
    CIFAR_VIT_50: "python -m tools.pretrain.pretrain_cifar --twin",
}
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)  # of CIFAR-100's training images
SCORED = 2_000  # test images on which an embedded backbone is scored: more would cost a CPU more than a round's training
HEAD_SEED = 0


def small_vit(labels: int) -> ViTForImageClassification:
    """An untrained ViT for (n, 3, 32, 32) pixels with a head of `labels` classes: wide and shallow, which is fast on a CPU."""
    config = ViTConfig(
        hidden_size=160,
        num_hidden_layers=4,
        num_attention_heads=5,
        intermediate_size=400,
        hidden_act="relu",
        image_size=32,
        patch_size=4,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config.num_labels = labels
    return ViTForImageClassification(config)


def only(images: Images, classes: Sequence[int]) -> Images:
    """The images of some classes, ascending, labelled by their place among them."""
    wanted = torch.tensor(classes)
    chosen = torch.isin(images.labels, wanted)
    return Images(images.pixels[chosen], torch.searchsorted(wanted, images.labels[chosen]))


def first_of_each(images: Images, count: int) -> Images:
    """The first `count` images of every class, the classes in turn, so that a beginning of them is balanced too."""
    order = images.labels.argsort(stable=True)
    sizes = images.labels.bincount()
    place = torch.arange(len(order)) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    chosen = order[place.argsort(stable=True)[: int((place < count).sum())]]
    return Images(images.pixels[chosen], images.labels[chosen])


def as_seen(inputs: Inputs) -> Inputs:
    """Stored bytes as the embedded backbones know them."""
    return {"pixel_values": normalise(inputs["pixel_values"], MEAN, STD)}


def moved(inputs: Inputs, draws: Tensor) -> Inputs:
    """Stored bytes mirrored or not and shifted by up to four pixels."""
    return {"pixel_values": flip_and_crop(inputs["pixel_values"], draws)}


def load_backbone(name: str, labels: int) -> Backbone:
    """One of the embedded ViTs, frozen, with an untrained head that is the same at every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(HEAD_SEED)
        fresh = small_vit(labels)
    return load_embedded(fresh, data_folder() / f"{name}.safetensors", SCRIPTS[name])


def fetch(name: str, folder: Path, watch: Watch) -> None:
    """Download the files of the task into `folder` unless they lie there."""
    find_or_fetch(folder, LAYOUTS[name], watch)


def load(name: str, backbone: str, folder: Path) -> Task:
    """The task on an embedded backbone or any transformers model, from the files in `folder`: images (n, 3, 32, 32) as bytes.

    Training batches that are missing are done without. An embedded backbone is scored on SCORED test images, others on all.
    """
    files = find_or_fetch(folder, LAYOUTS[name], progress_bar() if folder == cache_folder() else None)
    train, test, card = read_train(files, LAYOUTS[name]), read_test(files, LAYOUTS[name]), TASKS[name]
    if backbone == CIFAR_VIT_50:
        train, test = only(train, UNSEEN), only(test, UNSEEN)
        card = replace(card, classes=tuple(card.classes[label] for label in UNSEEN))
    if backbone in SCRIPTS:
        test, prepare, load_model = first_of_each(test, SCORED // card.outputs), as_seen, load_backbone
    else:
        prepare, load_model = image_preparation(backbone), partial(load_pretrained, "image")
    card = replace(card, train_samples=len(train.labels), test_samples=len(test.labels))
    return Task(
        card,
        Data({"pixel_values": train.pixels}, train.labels, prepare, moved),
        Data({"pixel_values": test.pixels}, test.labels, prepare),
        partial(load_model, backbone, card.outputs),
        IMAGE_STYLES,
    )


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Bytes (..., c, h, w) as floats with the channels' `mean` and `std`, both given in 0..1, taken out."""
    shift = torch.tensor(mean, device=images.device).view(-1, 1, 1)
    scale = torch.tensor(std, device=images.device).view(-1, 1, 1)
    return (images / 255 - shift) / scale


def flip_and_crop(images: Tensor, draws: Tensor, padding: int = 4) -> Tensor:
    """Each image (..., c, h, w) shifted by up to `padding` pixels, its border reflected, and mirrored or not.

    draws (..., 3 or more), uniform in 0..1: how far down, how far right, whether mirrored.
    """
    height, width = images.shape[-2:]
    down, right = ((draws[..., i] * (2 * padding + 1)).long() - padding for i in (0, 1))
    rows, columns = _shifted(height, down), _shifted(width, right)
    columns = torch.where(draws[..., 2:3] < 0.5, columns.flip(-1), columns)
    moved = images.gather(-2, rows[..., None, :, None].expand_as(images))
    return moved.gather(-1, columns[..., None, None, :].expand_as(images))


def _shifted(size: int, by: Tensor) -> Tensor:
    """(...) shifts -> (..., size): which pixel comes to stand at each place."""
    index = (torch.arange(size, device=by.device) + by[..., None]).abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)

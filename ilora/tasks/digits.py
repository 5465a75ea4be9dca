"""Handwritten digits of scikit-learn (8 x 8 gray) and a tiny ViT that was pretrained on printed letters.

Nothing is downloaded: the digits come with scikit-learn, the backbone with this repository (made by `pretrain_digits.py`).
"""

from pathlib import Path

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from transformers import ViTConfig, ViTForImageClassification

from ilora.tasks import LETTERS_VIT, TASKS, data_folder
from ilora.tasks.backbones import load_embedded
from ilora.tasks.base import Backbone, Data, Task
from ilora.tasks.styles import IMAGE_STYLES

CARD = TASKS["digits"]
SPLIT_SEED = 0
WEIGHTS = "digits-backbone.safetensors"


def _as_data(images: Tensor, labels: Tensor) -> Data:
    return Data({"pixel_values": (images / 16).float().unsqueeze(1)}, labels.long())


def _split() -> tuple[Data, Data]:
    images, labels = load_digits(return_X_y=True)
    x, x_test, y, y_test = train_test_split(
        images.reshape(-1, 8, 8), labels, test_size=CARD.test_samples, stratify=labels, random_state=SPLIT_SEED
    )
    return _as_data(torch.from_numpy(x), torch.from_numpy(y)), _as_data(torch.from_numpy(x_test), torch.from_numpy(y_test))


def tiny_vit(labels: int) -> ViTForImageClassification:
    """An untrained ViT for (n, 1, 8, 8) pixels in 0..1 with a head of `labels` classes."""
    config = ViTConfig(
        hidden_size=LETTERS_VIT.linears["query"][1],
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=LETTERS_VIT.linears["mlp-in"][0],
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config.num_labels = labels
    return ViTForImageClassification(config)


def load_backbone(path: Path | None = None) -> Backbone:
    """The pretrained ViT, frozen and in eval mode, with an untrained head of ten classes that is the same at every call."""
    path = path or data_folder() / WEIGHTS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SPLIT_SEED)
        fresh = tiny_vit(labels=len(CARD.classes))
    return load_embedded(fresh, path, "python -m tools.pretrain.pretrain_digits")


def load(name: str, backbone: str, folder: Path) -> Task:
    """1,437 digits to train on and 360 to test on, `pixel_values` (n, 1, 8, 8) in 0..1, and the pretrained ViT."""
    train, test = _split()
    return Task(CARD, train, test, load_backbone, IMAGE_STYLES)

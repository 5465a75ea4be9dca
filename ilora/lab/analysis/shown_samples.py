"""A task's samples as a person sees them, in the order in which runs number them: pictures as bytes, sentences as text.

Read from the files that the task itself reads, and kept in memory afterwards. numpy only; CIFAR's reader and the styles of images
bring torch with them, and are imported when they are first asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ilora.records import Array
from ilora.tasks import TASKS, data_error, data_folder, is_at_hand, place_of
from ilora.tasks.cards import CIFAR_VIT_50, UNSEEN
from ilora.tasks.glue_files import SHEETS, read_sheet
from ilora.tasks.toy_reviews import DIALECTS, reviews, say

Texts = Sequence[tuple[str, ...]]  # one sentence for each sample, or a pair
PLAIN = "plain"  # the style of samples as they are
BY_BACKBONE = ("cifar100",)  # tasks in which the backbone decides which samples there are


@dataclass(frozen=True)
class Shown:
    """n samples: labels (n,), class numbers or, of a regression, float32; and either pictures or texts.

    pictures: (n, C, H, W) uint8; texts: by style, n of them each.
    """

    labels: Array
    classes: tuple[str, ...]  # empty for a regression
    pictures: Array | None = None
    texts: Mapping[str, Texts] = field(default_factory=dict)

    def seen(self, samples: Array, style: str) -> Array:
        """The pictures of some samples in a style, (len(samples), C, H, W) uint8."""
        assert self.pictures is not None
        chosen = self.pictures[samples]
        return chosen if style in ("", PLAIN) else _in_style(chosen, style)

    def said(self, sample: int, style: str) -> tuple[str, ...]:
        """The sentence of a sample in a style, or its pair of sentences."""
        return self.texts[style or PLAIN][sample]


def missing(task: str, folder: str) -> str:
    """What has to be done before the task's samples can be shown; empty if they can."""
    card = TASKS[task]
    if is_at_hand(task, folder):
        return ""
    if folder:
        return f"{card.title}'s files are not in {folder}: there is no {card.files[0]}; name the folder that holds it."
    return (
        f"{card.title}'s files are not on this machine: name the folder that holds {card.files[0]}, or run the task once in the"
        " Playground, which downloads them."
    )


def read(task: str, backbone: str = "", folder: str = "") -> Shown:
    """The samples to train on; FieldError, one sentence with the way out, where files are missing or wrong."""
    if sentence := missing(task, folder):
        raise data_error(folder, sentence)
    if TASKS[task].kind == "text":
        return _texts(task, folder, "train")
    return _digits() if task == "digits" else _cifar(task, folder, backbone == CIFAR_VIT_50)


def read_tested(task: str, folder: str = "") -> Shown:
    """The samples that a text task is tested on; errors as in `read`."""
    if sentence := missing(task, folder):
        raise data_error(folder, sentence)
    return _texts(task, folder, "test")


def file_of(task: str) -> Path:
    """Where the training samples of an embedded image task are kept."""
    return data_folder() / f"{task}-samples.safetensors"


@lru_cache(maxsize=1)
def _digits() -> Shown:
    file = file_of("digits")
    try:
        kept = load_file(file)
    except (OSError, SafetensorError) as error:
        raise data_error(file, f"{file} is missing or damaged; fetch it from the repository again.") from error
    return Shown(kept["labels"].astype(np.int64), TASKS["digits"].classes, kept["pictures"][:, None])


@lru_cache(maxsize=4)
def _texts(task: str, folder: str, part: str) -> Shown:
    return _toy_text(part) if task == "toy-text" else _glue(task, place_of(task, folder), part)


def _toy_text(part: str) -> Shown:
    card = TASKS["toy-text"]
    drawn = reviews(card.train_samples, card.test_samples)
    drawn = drawn[: card.train_samples] if part == "train" else drawn[card.train_samples :]
    texts = {name: [(say(review, dialect),) for review in drawn] for name, dialect in DIALECTS.items()}
    return Shown(np.array([review.verdict + 1 for review in drawn]), card.classes, texts=texts)


def _glue(task: str, folder: Path, part: str) -> Shown:
    card, sheet = TASKS[task], SHEETS[task]
    rows = read_sheet(sheet, folder / sheet.folder / f"{'train' if part == 'train' else sheet.dev[0]}.tsv")
    labels = np.array(rows.labels, dtype=np.float32 if card.regression else np.int64)
    return Shown(labels, card.classes, texts={PLAIN: rows.texts})


@lru_cache(maxsize=2)
def _cifar(task: str, folder: str, half: bool) -> Shown:
    from ilora.tasks.cifar_files import CIFAR10, CIFAR100, find_or_fetch, read_train

    layout, names = CIFAR10 if task == "cifar10" else CIFAR100, TASKS[task].classes
    images = read_train(find_or_fetch(place_of(task, folder), layout, None), layout)
    labels, pictures = images.labels.numpy(), images.pixels.numpy()
    if half:
        chosen = np.isin(labels, UNSEEN)
        labels, pictures = np.searchsorted(UNSEEN, labels[chosen]), pictures[chosen]
        names = tuple(names[label] for label in UNSEEN)
    return Shown(labels, names, pictures)


def _in_style(pictures: Array, style: str) -> Array:
    import torch

    from ilora.tasks.styles import IMAGE_STYLES

    changed: Array = IMAGE_STYLES[style]({"pixel_values": torch.from_numpy(pictures)})["pixel_values"].numpy()
    return changed

"""CIFAR's official files: Python pickles of rows of 3072 bytes, read without letting a pickle run anything."""

import pickle
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Images(NamedTuple):
    """Images (n, 3, 32, 32) as bytes and their labels (n,)."""

    pixels: Tensor
    labels: Tensor


class Layout(NamedTuple):
    """How one of the two data sets lies in its folder."""

    title: str
    folder: str
    train: tuple[str, ...]
    test: str
    labels: str
    meta: str
    names: str


CIFAR10 = Layout(
    "CIFAR-10",
    "cifar-10-batches-py",
    tuple(f"data_batch_{batch}" for batch in range(1, 6)),
    "test_batch",
    "labels",
    "batches.meta",
    "label_names",
)
CIFAR100 = Layout("CIFAR-100", "cifar-100-python", ("train",), "test", "fine_labels", "meta", "fine_label_names")

_HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


class _DataOnly(pickle.Unpickler):
    """An unpickler of arrays, numbers, strings, lists and dictionaries, and of nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _unpickle(file: BinaryIO) -> dict[str, Any]:
    content = _DataOnly(file, encoding="latin1").load()
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("it holds no dictionary")
    return content


def read_images(path: Path, labels: str) -> Images:
    """One official batch file; `labels` is the key of its labels. ValueError where the file is none."""
    try:
        with path.open("rb") as file:
            content = _unpickle(file)
        rows = np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        named = torch.tensor(content[labels], dtype=torch.long)
        if len(named) != len(rows):
            raise ValueError(f"{len(rows)} images but {len(named)} labels")
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} is not one of CIFAR's official files: {error}.") from error
    return Images(torch.from_numpy(rows.copy()), named)


def read_names(folder: Path, layout: Layout) -> tuple[str, ...]:
    """The names of the classes, in the order of their labels."""
    with (folder / layout.folder / layout.meta).open("rb") as file:
        return tuple(name.replace("_", " ") for name in _unpickle(file)[layout.names])


def read_train(folder: Path, layout: Layout) -> Images:
    """All training batches that lie in `folder`."""
    found = [path for name in layout.train if (path := folder / layout.folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"No training batch of {layout.title} lies in {folder / layout.folder}.")
    parts = [read_images(path, layout.labels) for path in found]
    return Images(torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts]))


def read_test(folder: Path, layout: Layout) -> Images:
    """The test batch in `folder`."""
    return read_images(folder / layout.folder / layout.test, layout.labels)

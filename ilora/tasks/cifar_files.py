"""CIFAR's official files: Python pickles of rows of 3072 bytes, read without letting a pickle run anything."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from ilora.tasks import data_error
from ilora.tasks.download import Archive, Watch, fetch


class Images(NamedTuple):
    """Images (n, 3, 32, 32) as bytes and their labels (n,)."""

    pixels: Tensor
    labels: Tensor


class Layout(NamedTuple):
    """How one of the two data sets lies in its folder, as torchvision knows it."""

    archive: Archive
    train: tuple[str, ...]
    test: str
    labels: str
    meta: str
    names: str

    @property
    def title(self) -> str:
        """The name of the data set."""
        return self.archive.title


def _layout(title: str, official: type[datasets.CIFAR10], labels: str, size: int, unpacked: int) -> Layout:
    archive = Archive(title, official.url, official.tgz_md5, official.base_folder, size, unpacked)
    train = tuple(name for name, _ in official.train_list)
    return Layout(archive, train, official.test_list[0][0], labels, official.meta["filename"], official.meta["key"])


CIFAR10 = _layout("CIFAR-10", datasets.CIFAR10, "labels", 170_498_071, 186_215_000)
CIFAR100 = _layout("CIFAR-100", datasets.CIFAR100, "fine_labels", 169_001_437, 186_220_000)

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


@contextmanager
def _official(path: Path) -> Iterator[None]:
    """FieldError where the file cannot be read or is another one."""
    try:
        yield
    except OSError as error:
        raise data_error(path, f"{path} cannot be read: {error.strerror}.") from error
    except (pickle.UnpicklingError, EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise data_error(path, f"{path} is not one of CIFAR's official files: {error}.") from error


def read_images(path: Path, labels: str) -> Images:
    """One official batch file; `labels` is the key of its labels. FieldError where the file is none."""
    with _official(path):
        with path.open("rb") as file:
            content = _unpickle(file)
        rows = np.asarray(content["data"], dtype=np.uint8).reshape(-1, 3, 32, 32)
        named = torch.tensor(content[labels], dtype=torch.long)
        if len(named) != len(rows):
            raise ValueError(f"{len(rows)} images but {len(named)} labels")
    return Images(torch.from_numpy(rows.copy()), named)


def find(folder: Path, layout: Layout) -> Path | None:
    """Where under `folder`, or as `folder` itself, the files of a data set lie; None if they do not."""
    places = (folder / layout.archive.folder, folder)
    return next((place for place in places if (place / layout.test).is_file()), None)


def find_or_fetch(folder: Path, layout: Layout, watch: Watch | None) -> Path:
    """Where the files lie; with `watch` they are downloaded into `folder` first if they are missing."""
    if found := find(folder, layout):
        return found
    if watch is not None:
        return fetch(layout.archive, folder, watch)
    raise data_error(
        folder,
        f"{layout.title} does not lie in {folder}: there is no {layout.archive.folder}/{layout.test}; leave data empty to have it"
        f" downloaded once ({layout.archive.size / 1e6:.0f} MB).",
    )


def read_names(place: Path, layout: Layout) -> tuple[str, ...]:
    """The names of the classes, in the order of their labels."""
    with _official(place / layout.meta), (place / layout.meta).open("rb") as file:
        return tuple(_unpickle(file)[layout.names])


def read_train(place: Path, layout: Layout) -> Images:
    """All training batches that lie in `place`: where some are missing, those that are there."""
    found = [place / name for name in layout.train if (place / name).is_file()]
    if not found:
        names = ", ".join(layout.train)
        raise data_error(place, f"{place} holds no training batch of {layout.title}; its names are {names}.")
    parts = [read_images(path, layout.labels) for path in found]
    return Images(torch.cat([part.pixels for part in parts]), torch.cat([part.labels for part in parts]))


def read_test(place: Path, layout: Layout) -> Images:
    """The test batch in `place`."""
    return read_images(place / layout.test, layout.labels)

"""CIFAR's official files: found, read without running anything, and refused in one sentence when they are not what they say."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from ilora.checks import FieldError
from ilora.tasks.cards import CIFAR10_NAMES, CIFAR100_NAMES
from ilora.tasks.cifar_files import CIFAR10, CIFAR100, find, find_or_fetch, read_images, read_names, read_test, read_train
from tests.tasks import cifar_standin


class Boom:
    """What a hostile pickle would do."""

    def __reduce__(self):
        return os.system, ("echo this must never run",)


def a_pickle(path: Path, **changes: object) -> Path:
    content = {"labels": [0, 1], "data": np.zeros((2, 3072), dtype=np.uint8)} | changes
    path.write_bytes(pickle.dumps({name: value for name, value in content.items() if value is not None}))
    return path


def test_all_batches_are_read_in_order(tmp_path):
    cifar_standin.write(tmp_path / "cifar-10-batches-py", CIFAR10, classes=10)
    place = find_or_fetch(tmp_path, CIFAR10, None)
    train, test = read_train(place, CIFAR10), read_test(place, CIFAR10)
    assert (len(train.labels), len(test.labels)) == (5 * 40, 40)
    assert train.pixels.dtype == torch.uint8
    assert torch.equal(train.pixels[40:80], read_images(place / "data_batch_2", "labels").pixels)


def test_pixels_lie_as_channels_rows_columns(tmp_path):
    rows = np.arange(3072, dtype=np.int64).reshape(1, -1) % 251
    images = read_images(a_pickle(tmp_path / "b", data=rows.astype(np.uint8), labels=[7]), "labels")
    assert images.pixels[0, 2, 5, 9] == (2 * 1024 + 5 * 32 + 9) % 251


@pytest.mark.parametrize("layout", [CIFAR10, CIFAR100])
def test_the_same_images_as_torchvision_reads(tmp_path, layout, monkeypatch):
    cifar_standin.write(tmp_path / layout.archive.folder, layout, classes=10)
    official = datasets.CIFAR100 if layout is CIFAR100 else datasets.CIFAR10
    monkeypatch.setattr(official, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    theirs = official(tmp_path, train=True)
    ours = read_train(find_or_fetch(tmp_path, layout, None), layout)
    assert np.array_equal(theirs.data, ours.pixels.permute(0, 2, 3, 1).numpy())
    assert theirs.targets == ours.labels.tolist()


def test_the_folder_itself_may_be_named(tmp_path):
    cifar_standin.write(tmp_path / "mine", CIFAR100, classes=100, per_class=1)
    assert find(tmp_path / "mine", CIFAR100) == tmp_path / "mine"
    assert find(tmp_path, CIFAR100) is None


def test_missing_batches_are_done_without(tmp_path):
    cifar_standin.write(tmp_path / "some", CIFAR10, classes=10, batches=2)
    assert len(read_train(tmp_path / "some", CIFAR10).labels) == 80


def test_no_batch_at_all_is_said(tmp_path):
    cifar_standin.write(tmp_path / "none", CIFAR10, classes=10, batches=0)
    with pytest.raises(FieldError, match=r"holds no training batch of CIFAR-10; its names are data_batch_1, "):
        read_train(tmp_path / "none", CIFAR10)


def test_a_folder_without_the_files_is_answered_with_the_way_out(tmp_path):
    sentence = (
        r"^CIFAR-10 does not lie in .*cifar-10-batches-py/test_batch; leave data empty to have it downloaded once \(170 MB\)\.$"
    )
    with pytest.raises(FieldError, match=sentence):
        find_or_fetch(tmp_path, CIFAR10, None)


def test_a_pickle_that_would_run_something_does_not(tmp_path, capfd):
    with pytest.raises(ValueError, match=r"is not one of CIFAR's official files: it asks for (posix|nt|os)\.system\.$"):
        read_images(a_pickle(tmp_path / "b", data=Boom()), "labels")
    assert "never run" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": None}, "'data'"),
        ({"labels": None}, "'labels'"),
        ({"labels": [0]}, "2 images but 1 labels"),
        ({"labels": ["cat", "dog"]}, ""),
        ({"data": np.zeros((2, 3000), dtype=np.uint8)}, "reshape"),
        ({"data": "no pixels"}, ""),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_reason(tmp_path, changes, reason):
    with pytest.raises(ValueError, match=rf"b is not one of CIFAR's official files: .*{reason}"):
        read_images(a_pickle(tmp_path / "b", **changes), "labels")


@pytest.mark.parametrize("content", [b"", b"no pickle", "cut", pickle.dumps([1, 2])])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = a_pickle(tmp_path / "b")
    path.write_bytes(path.read_bytes()[:-200] if content == "cut" else content)
    with pytest.raises(ValueError, match="is not one of CIFAR's official files"):
        read_images(path, "labels")


def test_the_layouts_are_torchvisions():
    assert CIFAR10.train == tuple(f"data_batch_{i}" for i in range(1, 6))
    assert (CIFAR100.train, CIFAR100.test, CIFAR100.labels) == (("train",), "test", "fine_labels")
    assert CIFAR100.archive.md5 == "eb9058c3a382ffc7106e4002c42a8d85"


def test_the_real_files_have_the_published_sizes_and_the_cards_names(cifar_folder):
    for layout, classes, sizes in ((CIFAR10, CIFAR10_NAMES, {50_000, 20_000}), (CIFAR100, CIFAR100_NAMES, {50_000})):
        place = find_or_fetch(cifar_folder, layout, None)
        train, test = read_train(place, layout), read_test(place, layout)
        assert len(train.labels) in sizes
        assert torch.bincount(test.labels).tolist() == [10_000 // len(classes)] * len(classes)
        assert tuple(name.replace("_", " ") for name in read_names(place, layout)) == classes

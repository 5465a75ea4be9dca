"""What the app shows of the data is what a run would have."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ilora import tasks
from ilora.checks import FieldError
from ilora.clients.data import load_client_data
from ilora.clients.partition import Dealt
from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.analysis.shown_samples import read
from ilora.lab.captions import data
from ilora.lab.content import data_preview
from ilora.tasks import load_task
from ilora.tasks.base import Task
from ilora.tasks.cifar_files import CIFAR10, CIFAR100
from tests.tasks import cifar_standin, glue_standin


def preview(e: Experiment) -> Dealt:
    return data_preview.dealt(e, read(e.task, e.backbone, e.data))


def experiments(place) -> list[Experiment]:
    """One of every kind of task, its files, where it needs any, made up in `place`."""
    cifar_standin.write(place / "cifar-10-batches-py", CIFAR10, classes=10)
    cifar_standin.write(place / "cifar-100-python", CIFAR100, classes=100)
    for task in ("sst2", "rte", "stsb"):
        glue_standin.write(place, task)
    fetched = ("cifar10", "cifar100", "sst2", "rte", "stsb")
    folders = {"digits": "", "toy-text": "", **dict.fromkeys(fetched, str(place))}
    return [Experiment(task=task, data=data, clients=5, alpha=0.1, seed=3) for task, data in folders.items()]


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory) -> list[tuple[Experiment, Task]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILORA_CACHE", str(tmp_path_factory.mktemp("tokens")))
        return [(e, load_task(e.task, e.backbone, e.data)) for e in experiments(tmp_path_factory.mktemp("data"))]


def test_what_is_shown_are_the_tasks_training_samples_in_order(every_kind):
    for e, task in every_kind:
        shown, stored = read(e.task, e.backbone, e.data), task.train
        np.testing.assert_array_equal(shown.labels, stored.labels.numpy())
        assert shown.classes == task.card.classes
        if shown.pictures is not None:
            pixels = stored.inputs["pixel_values"].numpy()
            scale = 1 if pixels.dtype == np.uint8 else 255
            np.testing.assert_allclose(shown.pictures, scale * pixels, atol=1)
            continue
        for i in (0, 7, len(shown.labels) - 1):
            said = " | ".join(shown.said(i, ""))
            assert letters(task.text_of(stored, i)) == letters(said)


def letters(text: str) -> str:
    """A text without what a tokenizer changes."""
    return "".join(text.lower().split())


@pytest.mark.parametrize("skew", ["iid", "label", "shards", "quantity", "attribute"])
def test_the_preview_is_who_holds_what_in_the_run(every_kind, skew):
    for e, task in every_kind:
        if skew == "attribute" and not task.card.styles:
            continue
        e = e.replace(skew=skew, noisy_clients=0 if task.card.regression else 2)
        held, real = preview(e), load_client_data(task, e, "cpu")
        assert all(np.array_equal(ours, theirs) for ours, theirs in zip(held.shares, real.shares, strict=True))
        np.testing.assert_array_equal(held.labels, real.train.labels.numpy())
        np.testing.assert_array_equal(held.counts, real.class_counts)
        assert (held.classes, held.styles, held.noisy) == (real.classes, real.styles, real.noisy)


def test_a_sample_is_shown_in_its_clients_style(every_kind):
    for e, task in every_kind:
        if not task.card.styles:
            continue
        e = e.replace(skew="attribute")
        shown, held, real = read(e.task, e.backbone, e.data), preview(e), load_client_data(task, e, "cpu")
        for share, style in zip(held.shares, held.styles, strict=True):
            few = share[:3]
            if shown.pictures is None:
                assert letters(task.text_of(real.train, few[0])) == letters(*shown.said(few[0], style))
                continue
            pixels = real.train.inputs["pixel_values"][few].numpy()
            scale = 1 if pixels.dtype == np.uint8 else 255
            np.testing.assert_allclose(shown.seen(few, style), scale * pixels, atol=3)


def test_a_tested_sentence_stands_in_the_style_in_which_the_server_is_asked(every_kind):
    for e, task in every_kind:
        if task.card.kind != "text":
            continue
        e = e.replace(skew="attribute") if task.card.styles else e
        real = load_client_data(task, e, "cpu")
        for sample in (0, 3, 9):
            said = " | ".join(data_preview.tested_text(e, real.styles, sample))
            assert letters(task.text_of(real.test, sample)) == letters(said)


def test_files_that_are_not_there_end_in_one_sentence_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "data_folder", lambda: tmp_path)
    for task, file in (("cifar10", "cifar-10-batches-py/test_batch"), ("sst2", "SST-2/train.tsv")):
        with pytest.raises(FieldError, match=rf"not on this machine: name the folder that holds {file}, or run"):
            read(task)
        with pytest.raises(FieldError, match=rf"are not in /nowhere: there is no {file};"):
            read(task, folder="/nowhere")


def test_what_was_read_once_is_not_read_again(every_kind):
    for e, _ in every_kind[-2:]:
        assert read(e.task, e.backbone, e.data) is read(e.task, "other", e.data)


def test_the_effective_number_of_classes():
    assert data_preview.effective_classes(np.array([[10, 10, 0], [20, 0, 0], [99, 1, 0]])) == pytest.approx(
        [2, 1, 1.058], abs=1e-3
    )


def test_shown_samples_cover_a_clients_classes_and_are_no_more_than_it_holds():
    groups = np.array([2, 0, 1, 1, 1, 1, 1, 2])
    share = np.array([0, 1, 2, 3, 4, 5, 7])
    assert groups[data_preview.some_of(groups, share, 3)].tolist() == [0, 1, 2]
    assert data_preview.some_of(groups, np.array([5, 1]), 4).tolist() == [1, 5]


@pytest.mark.parametrize(("channels", "width", "times"), [(1, 8, 8), (3, 32, 2), (3, 100, 1)])
def test_a_sheet_has_room_for_all_pictures_and_is_clear_where_there_is_none(channels, width, times):
    pictures = np.random.default_rng(0).integers(0, 256, (3, channels, width, width), dtype=np.uint8)
    whole = data_preview.sheet(pictures, 2, 2)
    large = times * width
    gap = len(whole) - 2 * large
    assert gap > 0
    assert whole.shape == (2 * large + gap, 2 * large + gap, 4)
    second = slice(large + gap, None)
    first = slice(large)
    for picture, (rows, columns) in zip(pictures, [(first, first), (first, second), (second, first)], strict=True):
        part = whole[rows, columns][::times, ::times]
        np.testing.assert_array_equal(part[..., :3], np.broadcast_to(np.moveaxis(picture, 0, -1), (width, width, 3)))
        assert (part[..., 3] == 255).all()
    assert not whole[large : large + gap].any()
    assert not whole[second, second].any()


def test_an_address_holds_the_pixels_themselves():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    kind, _, text = data_preview.address(pixels).partition(",")
    assert kind == "data:image/png;base64"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))), pixels)


def test_sentences_say_whose_samples_are_shown():
    e = Experiment(clients=3)
    facts = data_preview.facts_of(e, preview(e))
    assert "all clients" in data.samples_shown(facts, 3)
    assert "the first 2 clients" in data.samples_shown(facts, 2)
    assert "samples" in data.sizes(facts)


def test_classes_held_alike_are_said_so_and_others_are_counted():
    e = Experiment(clients=5, skew="shards")
    facts = data_preview.facts_of(e, preview(e))
    assert "A client holds" in data.classes(facts, data_preview.effective_classes(facts.class_counts))
    even = replace(facts, class_counts=np.full((5, 10), 20))
    assert "all 10 classes in about equal numbers" in data.classes(even, data_preview.effective_classes(even.class_counts))


def test_many_classes_are_drawn_as_a_heat_map_in_which_what_nobody_holds_is_blank():
    e = Experiment(clients=3)
    few = data_preview.facts_of(e, preview(e))
    counts = np.arange(3 * 100).reshape(3, 100)
    many = replace(few, classes=tuple(f"class {i}" for i in range(100)), class_counts=counts)
    assert {trace.type for trace in figures.client_data(few).data} == {"scatter"}
    (drawn,) = figures.client_data(many).data
    assert drawn.type == "heatmap"
    assert np.isnan(drawn.z[0][0])
    assert np.array_equal(np.nan_to_num(drawn.z), counts)

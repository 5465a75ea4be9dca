"""The tasks of GLUE: their files found or fetched, their cards true, and any text encoder under them."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import BertTokenizer, DistilBertConfig, DistilBertForSequenceClassification

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.simulation.round_loop import Simulation
from ilora.tasks import TASKS, data_folder, glue, is_at_hand, load_task
from ilora.tasks.download import DownloadError, StoppedError
from ilora.tasks.glue_files import SHEETS
from tests.tasks import glue_standin

NAMES = tuple(SHEETS)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Tokens go to a folder of the test's own; the backbones stay where they are."""
    from ilora.tasks import tokens

    place, kept = tmp_path_factory.mktemp("cache"), tokens.kept_tokens
    monkeypatch.setattr(glue, "kept_tokens", lambda tokenizer, texts, folder: kept(tokenizer, texts, place))


@pytest.mark.parametrize("name", NAMES)
def test_every_task_is_loaded_from_its_official_files(tmp_path, name):
    glue_standin.write(tmp_path, name)
    task = load_task(name, "", str(tmp_path))
    assert (len(task.train), len(task.test)) == (24, 12)
    assert set(task.more_tests) == ({"mismatched"} if name == "mnli" else set())
    assert task.train.labels.is_floating_point() == task.card.regression
    model, inputs = task.load_backbone().model, task.train.rows(slice(4))
    assert model(**inputs).logits.shape == (4, task.card.outputs)
    assert task.text_of is not None
    said = task.text_of(task.train, 0)
    assert "film number 0 is good" in said
    assert (" | " in said) == (len(SHEETS[name].texts) == 2)


def test_the_second_sentence_of_a_pair_has_the_second_token_type(tmp_path):
    glue_standin.write(tmp_path, "rte")
    inputs = load_task("rte", "", str(tmp_path)).train.rows(slice(1))
    ids, types = inputs["input_ids"][0], inputs["token_type_ids"][0]
    first_end = ids.tolist().index(3)
    assert types.tolist() == [0] * (first_end + 1) + [1] * (len(ids) - first_end - 1)


def test_a_model_that_reads_no_token_types_is_trained_with_its_own_tokenizer_alike_by_both_engines(tmp_path):
    torch.manual_seed(1)
    config = DistilBertConfig(vocab_size=4096, dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    DistilBertForSequenceClassification(config).save_pretrained(tmp_path / "model")
    vocabulary, read = str(data_folder() / "text-mini" / "vocab.txt"), ["input_ids", "attention_mask"]
    BertTokenizer(vocab=vocabulary, model_input_names=read).save_pretrained(tmp_path / "model")
    glue_standin.write(tmp_path, "rte")
    places: dict[str, Any] = {"backbone": str(tmp_path / "model"), "data": str(tmp_path)}
    sizes: dict[str, Any] = {"ranks": [2, 3], "skew": "iid", "local_steps": 2, "batch_size": 4}
    base = Experiment(task="rte", optimizer="sgd", lr=1e-2, device="cpu", **places, **sizes)
    one, other = (Simulation(base.replace(engine=engine)).next_round() for engine in ("vectorised", "sequential"))
    for column in ("train_loss", "loss", "accuracy"):
        assert one.clients[column] == pytest.approx(other.clients[column], abs=1e-5)
    assert one.loss == pytest.approx(other.loss, abs=1e-5)


def test_a_round_of_a_regression_is_scored_by_correlations(tmp_path):
    glue_standin.write(tmp_path, "stsb")
    setting = Experiment(task="stsb", data=str(tmp_path), ranks=[2, 3], local_steps=2, batch_size=4, device="cpu")
    record = Simulation(setting).next_round()
    assert set(record.scores) == {"pearson", "spearman"}
    assert record.accuracy == record.scores["pearson"]


def test_a_named_folder_without_the_task_is_not_filled(tmp_path):
    with pytest.raises(FieldError, match=r"has no folder SST-2; put GLUE's official files there") as caught:
        load_task("sst2", "", str(tmp_path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_without_the_library_datasets_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DownloadError, match=r"task qqp: the library datasets is not installed; .*QQP/train.tsv"):
        glue.fetch("qqp", tmp_path, lambda title, share: None)


class Hub:
    """Stands in for the library `datasets`: six rows per split, or no network after the first split."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.asked = broken, list[tuple[str, str, str]]()

    def load_dataset(self, path, name, split, cache_dir):
        self.asked.append((path, name, split))
        if self.broken and split != "train":
            raise ConnectionError("no route to host.\nTraceback ...")
        first, second = glue.HUB_COLUMNS.get(name, (*SHEETS[name].texts, "idx"))[:2]
        return {
            first: [f"one\t{i}" for i in range(6)],
            second: [f"two {i}" for i in range(6)],
            "label": [i % 2 for i in range(6)],
        }


@pytest.mark.parametrize(("name", "dev"), [("mnli", "validation_matched"), ("mrpc", "validation"), ("cola", "validation")])
def test_what_is_fetched_is_written_as_official_files(tmp_path, monkeypatch, name, dev):
    hub = Hub()
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=hub.load_dataset))
    glue.fetch(name, tmp_path, lambda title, share: None)
    assert hub.asked[:2] == [("nyu-mll/glue", name, "train"), ("nyu-mll/glue", name, dev)]
    assert is_at_hand(name, str(tmp_path))
    task = load_task(name, "", str(tmp_path))
    assert task.train.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert [path.name for path in tmp_path.iterdir()] == [SHEETS[name].folder]


def test_a_broken_download_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=Hub(broken=True).load_dataset))
    with pytest.raises(DownloadError, match=r"the download failed \(no route to host\); try again") as caught:
        glue.fetch("rte", tmp_path, lambda title, share: None)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_backbone_is_named_in_one_sentence(tmp_path):
    glue_standin.write(tmp_path, "rte")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"backbone is .*empty") as caught:
        load_task("rte", str(tmp_path / "empty"), str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_cards_say_what_the_files_say(name):
    card, sheet = TASKS[name], SHEETS[name]
    assert len(card.classes) == len(sheet.labels)
    assert card.regression == (not sheet.labels)
    assert card.files == (f"{sheet.folder}/train.tsv",)


def test_a_stopped_download_is_no_failure_and_leaves_nothing(tmp_path, monkeypatch):
    def stop(title: str, share: float) -> None:
        raise StoppedError

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=None))
    with pytest.raises(StoppedError):
        glue.fetch("sst2", tmp_path, stop)
    assert list(tmp_path.iterdir()) == []

"""CIFAR as a task: official files in, bytes in whole tensors out, for the twin only classes that it has not seen."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

import ilora
from ilora.checks import FieldError
from ilora.tasks import TASKS, cifar, fetch_task, is_at_hand, load_task
from ilora.tasks.backbones import find_linears
from ilora.tasks.cards import CIFAR100_NAMES, CIFAR_TASKS, SEEN, UNSEEN
from ilora.tasks.cifar import first_of_each, load_backbone, small_vit
from ilora.tasks.cifar_files import CIFAR10, CIFAR100, Images
from tests.tasks import cifar_standin

EMBEDDED = [(task, name) for task, card in CIFAR_TASKS.items() for name in card.backbones if name in cifar.SCRIPTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both data sets in the official format, a few random images each."""
    folder = tmp_path_factory.mktemp("cifar")
    cifar_standin.write(folder / "cifar-10-batches-py", CIFAR10, classes=10)
    cifar_standin.write(folder / "cifar-100-python", CIFAR100, classes=100)
    return folder


def test_images_are_stored_as_bytes_and_prepared_in_batch(folder):
    task = load_task("cifar10", folder=str(folder))
    assert task.train.inputs["pixel_values"].dtype == torch.uint8
    assert (len(task.train), len(task.test)) == (task.card.train_samples, task.card.test_samples) == (200, 40)
    rows = task.train.rows(torch.arange(6).view(2, 3))["pixel_values"]
    assert rows.shape == (2, 3, 3, 32, 32)
    expected = (task.train.inputs["pixel_values"][4, 1, 2, 3] / 255 - cifar.MEAN[1]) / cifar.STD[1]
    assert rows[1, 1, 1, 2, 3] == pytest.approx(expected.item(), abs=1e-6)


def test_training_images_are_augmented_and_test_images_are_not(folder):
    task, draws = load_task("cifar10", folder=str(folder)), torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    some = slice(0, 6)
    assert not torch.equal(task.train.rows(some, draws)["pixel_values"], task.train.rows(some)["pixel_values"])
    assert torch.equal(task.test.rows(some, draws)["pixel_values"], task.test.rows(some)["pixel_values"])


def test_the_twin_meets_only_classes_that_it_has_not_seen(folder):
    task = load_task("cifar100", folder=str(folder))
    whole = pickle.loads((folder / "cifar-100-python" / "test").read_bytes())
    kept = [label for label in whole["fine_labels"] if label not in SEEN]
    assert sorted(UNSEEN[label] for label in task.test.labels) == sorted(kept)
    assert task.card.classes == tuple(CIFAR100_NAMES[label] for label in UNSEEN)
    assert (len(task.train), len(task.test)) == (200, 200)
    assert task.load_backbone().model(**task.test.rows(slice(2))).logits.shape == (2, 50)


def test_scored_are_the_first_images_of_each_class_and_every_beginning_is_balanced():
    labels = torch.tensor([1, 0, 0, 2, 1, 0, 2, 1, 2])
    images = Images(torch.arange(9).view(9, 1, 1, 1), labels)
    chosen = first_of_each(images, 2)
    assert chosen.pixels.flatten().tolist() == [1, 0, 3, 2, 4, 6]
    assert chosen.labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_classes_of_unequal_size_give_what_they_have():
    chosen = first_of_each(Images(torch.arange(4), torch.tensor([0, 1, 0, 0])), 2)
    assert chosen.pixels.tolist() == [0, 1, 2]


def test_seen_and_unseen_are_the_two_halves_drawn_from_seed_0():
    drawn = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert tuple(drawn[:50].sort().values.tolist()) == SEEN
    assert tuple(drawn[50:].sort().values.tolist()) == UNSEEN


@pytest.mark.parametrize(("task", "name"), EMBEDDED)
def test_the_embedded_backbones_are_frozen_small_and_of_the_cards_shapes(task, name):
    assert (cifar.data_folder() / f"{name}.safetensors").stat().st_size < 2_300_000
    model, shapes = load_backbone(name, labels=7).model, CIFAR_TASKS[task].backbones[name].linears
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    for target, shape in shapes.items():
        assert {tuple(linear.weight.shape) for linear in find_linears(model, [target]).values()} == {shape}


def test_any_transformers_model_takes_the_whole_task_as_its_own_processor_wants_it(folder, tmp_path):
    small: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTForImageClassification(ViTConfig(**small, image_size=48, patch_size=16)).save_pretrained(tmp_path)
    task = load_task("cifar100", str(tmp_path), str(folder))
    rows = task.test.rows(slice(3))
    assert rows["pixel_values"].shape == (3, 3, 48, 48)
    assert task.load_backbone().model(**rows).logits.shape == (3, 100)
    assert len(task.test) == 100 * 4


def test_every_load_gives_the_same_backbone_and_head_and_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    first, second = (load_backbone("cifar-vit", 10).model.state_dict() for _ in range(2))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert torch.equal(before, torch.get_rng_state())


def test_a_missing_backbone_is_named_with_the_command_that_remakes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "data_folder", lambda: tmp_path)
    with pytest.raises(FieldError, match=r"cifar-vit-50\.safetensors is missing or damaged; .*pretrain_cifar --twin"):
        load_backbone("cifar-vit-50", 50)


def test_a_federated_round_runs_on_both_engines_to_the_same_numbers(folder):
    results = []
    for engine in ("vectorised", "sequential"):
        size: dict[str, Any] = {"ranks": [1, 3], "local_steps": 2, "batch_size": 4, "rounds": 1}
        experiment = ilora.Experiment("cifar10", data=str(folder), engine=engine, optimizer="sgd", lr=0.01, **size)
        results.append(ilora.run(experiment).rounds[0])
    one, other = results
    assert one.loss == pytest.approx(other.loss, abs=1e-5)
    assert torch.allclose(torch.from_numpy(one.clients["train_loss"]), torch.from_numpy(other.clients["train_loss"]), atol=1e-5)


def test_a_folder_without_the_files_ends_in_one_sentence_and_downloads_nothing(tmp_path):
    with pytest.raises(FieldError, match=r"^CIFAR-100 does not lie in .*leave data empty"):
        load_task("cifar100", folder=str(tmp_path))
    fetch_task("cifar100", str(tmp_path), lambda title, share: pytest.fail("a download began"))
    assert list(tmp_path.iterdir()) == []


def test_what_is_at_hand_needs_no_download(folder, tmp_path):
    assert is_at_hand("cifar10", str(folder))
    assert is_at_hand("cifar10", str(folder / "cifar-10-batches-py"))
    assert not is_at_hand("cifar10", str(tmp_path))
    assert is_at_hand("digits", str(tmp_path))


@pytest.mark.slow
def test_on_real_images_pretraining_is_worth_something_nearest_class_mean_beats_an_untrained_backbone(cifar_folder):
    task = load_task("cifar10", folder=str(cifar_folder))

    def nearest_mean(network: torch.nn.Module) -> float:
        body = network.get_submodule("vit")
        with torch.no_grad():
            train, test = (body(**data.rows(slice(1000))).last_hidden_state[:, 0] for data in (task.train, task.test))
        labels = task.train.labels[:1000]
        means = torch.stack([train[labels == c].mean(dim=0) for c in range(10)])
        return (torch.cdist(test, means).argmin(dim=1) == task.test.labels[:1000]).float().mean().item()

    torch.manual_seed(0)
    assert nearest_mean(task.load_backbone().model) > nearest_mean(small_vit(10).eval()) + 0.15


def test_the_cards_tell_the_sizes_of_the_real_data(cifar_folder):
    twin = load_task("cifar100", folder=str(cifar_folder))
    card = TASKS["cifar100"]
    assert (len(twin.train), len(twin.test)) == (card.train_samples, card.test_samples)

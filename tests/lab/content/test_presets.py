"""Presets are experiments, theirs and their twins', and the command line starts them."""

import json

import pytest

from ilora.experiment import Experiment
from ilora.lab.cli import main, make_parser
from ilora.lab.cli.flags import read_experiment
from ilora.lab.content import presets
from ilora.lab.content.presets import PRESETS, available, preset
from ilora.tasks import TASKS
from ilora.tasks.catalogue import BackboneCard, TaskCard

SIZES = {"query": (128, 128), "value": (128, 128)}


@pytest.fixture
def every_task(monkeypatch):
    """As if every task of the presets were there, with a small backbone of its own and any other by name."""
    own = {"small": BackboneCard("Small", "A stand-in.", SIZES)}
    for task in {chosen.fields["task"] for chosen in PRESETS.values()} - TASKS.keys():
        card = TaskCard(task, "A stand-in.", own, ("a", "b"), 50_000, 1_000, any_backbone=True)
        monkeypatch.setitem(TASKS, task, card)


def test_every_preset_is_an_experiment_and_its_twin_asks_the_same_of_a_small_backbone(every_task):
    for name, chosen in PRESETS.items():
        if not chosen.available:
            continue
        experiment = chosen.experiment()
        assert Experiment.from_json(experiment.to_json()) == experiment, name
        if chosen.twin:
            small = PRESETS[chosen.twin].experiment()
            for field in ("task", "ranks", "alpha", "skew", "rounds", "participation", "optimizer", "method"):
                assert getattr(small, field) == getattr(experiment, field), (name, field)
            assert small.backbone == TASKS[small.task].backbone != experiment.backbone
            assert (experiment.local_epochs, small.local_epochs, small.local_steps) == (1, None, 10)
            assert not PRESETS[chosen.twin].twin


def test_the_papers_numbers_are_those_of_its_run_scripts(every_task):
    vit = PRESETS["vit-cifar100-mixed-adamw"].fields
    assert [vit[name] for name in ("ranks", "alpha", "rounds", "batch_size", "lr")] == [(2, 4, 6), 0.3, 5, 64, 1e-4]
    assert PRESETS["swin-cifar10-alike-sgd"].fields["ranks"] == (4, 4, 4)
    assert PRESETS["swin-cifar10-alike-sgd"].fields["lr"] == 0.01
    assert {PRESETS[f"roberta-qqp-{alpha}"].fields["alpha"] for alpha in ("0.5", "0.6", "0.8")} == {0.5, 0.6, 0.8}
    large = PRESETS["roberta-large-mix-15"].fields
    assert sorted(set(large["ranks"])) == [2, 8, 16]
    assert (len(large["ranks"]), large["participation"], large["rounds"]) == (15, 0.8, 20)


def test_a_preset_that_names_the_paper_says_where_it_departs_from_it():
    for name, chosen in PRESETS.items():
        if "ILoRA paper" in chosen.about:
            assert "corrected mode" in chosen.about, name
            assert "dropout" in chosen.about, name
            assert "mode" not in chosen.fields.get("options", {}), name
    assert "Theirs has 5 rounds" in PRESETS["roberta-large-mix-15"].about
    assert "Theirs has α 0.1" in PRESETS["roberta-large-mix-20"].about
    assert PRESETS["roberta-sst2-0.8"].about.startswith("Near")


def test_presets_without_their_task_are_not_offered(monkeypatch):
    monkeypatch.setattr(presets, "TASKS", {"digits": TASKS["digits"]})
    assert list(available()) == ["digits"]
    with pytest.raises(ValueError, match=r"preset is 'swin-cifar10-alike-sgd'; allowed: digits\.$"):
        preset("swin-cifar10-alike-sgd")


def test_a_flag_changes_one_field_of_a_preset():
    chosen = make_parser().parse_args(["run", "--preset", "digits", "--rounds", "2", "--option", "mode=official"])
    experiment = read_experiment(chosen)
    assert experiment == preset("digits").experiment(rounds=2, options={"mode": "official"})


def test_the_command_lists_them(capsys):
    assert main(["presets"]) == 0
    assert "digits" in capsys.readouterr().out
    assert main(["presets", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["digits"]["experiment"]["ranks"] == [2, 4, 6]
    assert main(["run", "--preset", "nothing"]) == 2
    assert "preset is 'nothing'; allowed: digits" in capsys.readouterr().err

"""Attribute skew: every client sees its samples in one style, once, and nothing else about them changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ilora.clients.attribute_skew import dressed, in_all_styles, in_style
from ilora.clients.partition import client_styles
from ilora.experiment import Experiment
from ilora.records import RunFacts
from ilora.simulation.round_loop import Simulation
from ilora.tasks import TASKS, load_task
from ilora.tasks.base import Data
from ilora.tasks.styles import IMAGE_STYLES, blur, contrast, inversion, rotation
from tests.laws import next_view
from tests.toy import CARD, small_tasks, toy_experiment


def images(kind: str, size: int = 12, channels: int = 3) -> torch.Tensor:
    draw = torch.randint(0, 256, (6, channels, size, size), generator=torch.Generator().manual_seed(size), dtype=torch.uint8)
    return draw if kind == "uint8" else draw / 255


kinds = pytest.mark.parametrize("kind", ["uint8", "float"])


@kinds
@pytest.mark.parametrize(("size", "channels"), [(8, 1), (32, 3)])
@pytest.mark.parametrize("style", IMAGE_STYLES)
def test_every_style_keeps_shape_type_and_range_and_all_but_plain_change_something(style, kind, size, channels):
    x = images(kind, size, channels)
    y = IMAGE_STYLES[style]({"pixel_values": x, "other": x})
    assert y["other"] is x
    assert (y["pixel_values"].shape, y["pixel_values"].dtype) == (x.shape, x.dtype)
    assert y["pixel_values"].min() >= 0
    assert y["pixel_values"].max() <= (255 if kind == "uint8" else 1)
    assert torch.equal(y["pixel_values"], x) == (style == "plain")


@kinds
def test_inverting_twice_rotating_by_nothing_and_full_contrast_are_the_identity(kind):
    x = images(kind)
    torch.testing.assert_close(inversion(inversion(x)), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(rotation(x, 0.0), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(contrast(x, 1.0), x, atol=1e-6, rtol=0)


def test_a_quarter_turn_is_rot90_and_a_blur_keeps_a_flat_image():
    x = images("float")
    torch.testing.assert_close(rotation(x, 90.0), torch.rot90(x, 1, (2, 3)), atol=1e-5, rtol=0)
    flat = torch.full((1, 1, 8, 8), 0.25)
    torch.testing.assert_close(blur(flat), flat)
    assert blur(x).std() < x.std()


def test_every_sample_is_dressed_exactly_once_and_no_label_is_touched():
    data = Data({"x": torch.zeros(10, 2)}, torch.arange(10))
    styles = {"one": lambda inputs: {"x": inputs["x"] + 1}, "ten": lambda inputs: {"x": inputs["x"] + 10}}
    after = dressed(data, [np.array([0, 4, 9]), np.array([1, 2])], ["one", "ten"], styles)
    assert after.inputs["x"][:, 0].tolist() == [1, 10, 10, 0, 1, 0, 0, 0, 0, 1]
    assert torch.equal(after.labels, data.labels)
    assert not data.inputs["x"].any()
    assert in_all_styles(data, ["ten", "one", "ten"], styles).inputs["x"][:, 0].tolist() == [10, 1] * 5


@pytest.mark.parametrize("name", [name for name, card in TASKS.items() if card.styles and not card.download])
def test_a_task_offers_the_styles_that_its_card_names(name):
    assert tuple(load_task(name).styles) == TASKS[name].styles


def test_clients_train_on_their_own_style_and_are_tested_in_it_the_server_in_all():
    with small_tasks():
        experiment = Experiment(skew="attribute", clients=7, rounds=1, local_steps=1, batch_size=2)
        simulation, plain = Simulation(experiment), Simulation(experiment.replace(skew="iid"))
    styles = simulation.task.styles
    assert simulation.client_data.styles == client_styles(tuple(styles), 7) == simulation.facts.styles
    for own, style in zip(simulation.client_data.shares, simulation.client_data.styles, strict=True):
        raw = Data({"pixel_values": plain.client_data.train.inputs["pixel_values"][own]}, plain.client_data.train.labels[own])
        got = simulation.engine.data.inputs["pixel_values"][own]
        assert torch.equal(got, in_style(raw, styles[style]).inputs["pixel_values"])
    assert torch.equal(simulation.client_data.train.labels, plain.client_data.train.labels)
    inverted = inversion(plain.client_data.test.inputs["pixel_values"])
    assert torch.equal(simulation.client_data.test.inputs["pixel_values"][4::5], inverted[4::5])

    record = simulation.next_round()
    with small_tasks():
        still = Simulation(experiment.replace(lr=0.0), record.snapshot)
    _, view = next_view(still)  # everyone now holds a cut of one server model, and stays there
    answers = still.engine.logits(view.start, view.base, Data({"pixel_values": inverted}, plain.client_data.test.labels))
    want = (answers[4].argmax(1) == plain.client_data.test.labels).float().mean()
    assert still.next_round().clients["personal_accuracy"][4] == pytest.approx(float(want))
    assert record.clients["personal_accuracy"].shape == (7,)


def test_who_holds_which_style_is_kept_with_the_run():
    with small_tasks():
        facts = Simulation(Experiment(skew="attribute", clients=3)).facts
    assert RunFacts.from_json(facts.to_json()).styles == ("plain", "blur", "contrast")


def test_a_task_without_styles_is_refused_in_one_sentence(monkeypatch):
    monkeypatch.setitem(TASKS, "toy", replace(CARD, styles=()))
    with pytest.raises(ValueError, match=r"^skew is 'attribute'; allowed: iid.* task toy has no styles .*\.$"):
        toy_experiment(skew="attribute")

"""An adapter that was saved starts the next experiment at exactly the model it makes, whatever the method."""

import json

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from ilora.api import run
from ilora.checks import FieldError
from ilora.methods import METHODS
from ilora.simulation.round_loop import Simulation
from tests.toy import server_logits, small_tasks, toy_experiment, toy_model

COMMON = [name for name, method in METHODS.items() if not method.personalised]


@pytest.fixture(autouse=True, scope="module")
def tasks():
    with small_tasks():
        yield


@pytest.fixture(scope="module")
def trained(tasks):
    return run(toy_experiment(method="fedex-lora", rounds=2))


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("adapter")
    trained.adapter(4).save_pretrained(path)
    return path


def logits_of(path, inputs):
    return PeftModel.from_pretrained(toy_model(), str(path)).eval()(**inputs).logits.detach().double().numpy()


@pytest.mark.parametrize("method", COMMON)
def test_every_method_starts_where_the_adapter_stands_and_lr_0_keeps_it_there(trained, folder, method):
    options = {"negative_control": True} if method == "dfl" else {}  # it wants attribute skew, which dresses the test set
    simulation = Simulation(toy_experiment(method=method, options=options, adapter=str(folder), lr=0.0, rounds=1))
    want = server_logits(trained.simulation)
    assert server_logits(simulation) == pytest.approx(want, abs=1e-5)
    record = simulation.next_round()
    if record.moved_without_learning < 1e-6:
        assert server_logits(simulation) == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize("method", ["ilora", "fedit", "flora", "fedex-lora"])
def test_what_is_exported_after_going_on_holds_both_adapters(folder, tmp_path, method):
    result = run(toy_experiment(method=method, adapter=str(folder), targets=["value"], rounds=1))
    result.adapter(4).save_pretrained(tmp_path)
    simulation = result.simulation
    assert logits_of(tmp_path, simulation.client_data.test.rows(slice(None))) == pytest.approx(
        server_logits(simulation), abs=1e-5
    )
    assert server_logits(simulation) != pytest.approx(logits_of(folder, simulation.client_data.test.rows(slice(None))), abs=1e-3)


def test_both_engines_go_on_alike(folder):
    one, other = (
        Simulation(toy_experiment(adapter=str(folder), optimizer="sgd", engine=engine)) for engine in ("vectorised", "sequential")
    )
    assert one.next_round().loss == pytest.approx(other.next_round().loss, abs=1e-5)


def test_an_adapter_of_pefts_own_with_patterns_and_rank_stable_scaling_is_read_exactly(tmp_path):
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, use_rslora=True, rank_pattern={"value": 5}, target_modules=["query", "value"])
    model = get_peft_model(toy_model(), config)
    for name, tensor in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(tensor, std=0.2)
    model.save_pretrained(str(tmp_path))
    simulation, bare = Simulation(toy_experiment(adapter=str(tmp_path))), Simulation(toy_experiment())
    classifier = {name.removeprefix("head.classifier."): tensor for name, tensor in simulation.server.head.items()}
    plain = toy_model()
    plain.classifier.load_state_dict(classifier)
    want = PeftModel.from_pretrained(plain, str(tmp_path)).eval()(**simulation.client_data.test.rows(slice(None))).logits
    assert server_logits(simulation) == pytest.approx(want.detach().double().numpy(), abs=1e-5)
    assert all(torch.equal(tensor, bare.server.head[name]) for name, tensor in simulation.server.head.items())


def change(folder, path, **settings):
    """The adapter in `folder` under other settings."""
    config = json.loads((folder / "adapter_config.json").read_text()) | settings
    (path / "adapter_config.json").write_text(json.dumps(config))
    save_file(load_file(folder / "adapter_model.safetensors"), path / "adapter_model.safetensors")
    return path


def damaged(folder, path):
    change(folder, path)
    (path / "adapter_model.safetensors").write_bytes(b"not safetensors")
    return path


def of_another_backbone(folder, path):
    change(folder, path)
    tensors = load_file(folder / "adapter_model.safetensors")
    tensors |= {name.replace("query", "key"): tensor.clone() for name, tensor in tensors.items() if "query" in name}
    save_file(tensors, path / "adapter_model.safetensors")
    return path


def of_other_widths(folder, path):
    change(folder, path)
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({name: tensor[..., :2].clone() for name, tensor in tensors.items()}, path / "adapter_model.safetensors")
    return path


WRONG = {
    "adapter_config.json is not in it": lambda folder, path: path,
    "DoRA": lambda folder, path: change(folder, path, use_dora=True),
    "trains biases": lambda folder, path: change(folder, path, bias="all"),
    "it is of the kind": lambda folder, path: change(folder, path, peft_type="IA3"),
    "does not fit": lambda folder, path: change(folder, path, target_modules=["qkv"]),
    "cannot be read": damaged,
    "other layers": of_another_backbone,
    "does not fit this backbone": of_other_widths,
}


@pytest.mark.parametrize("reason", WRONG)
def test_what_is_no_plain_lora_of_this_backbone_is_refused_in_one_sentence(folder, tmp_path, reason):
    path = WRONG[reason](folder, tmp_path)
    with pytest.raises(FieldError, match=reason) as error:
        Simulation(toy_experiment(adapter=str(path)))
    assert error.value.field == "adapter"
    sentence = str(error.value)
    assert sentence.startswith("adapter is ")
    assert "allowed: a folder with adapter_config.json" in sentence
    assert "\n" not in sentence

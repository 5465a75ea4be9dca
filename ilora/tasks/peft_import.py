"""A PEFT adapter as the start of an experiment: merged into the backbone, so that every method goes on from there."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from torch import Tensor, nn

from ilora.checks import FieldError
from ilora.tasks.base import Backbone

FILES = ("adapter_config.json", "adapter_model.safetensors")
NOT_A_PRODUCT = {  # settings under which an adapter is more than W + s B A on linears
    "use_dora": "it is DoRA, which rescales whole weights",
    "lora_bias": "it trains biases",
    "target_parameters": "it adapts parameters that are no linears",
    "trainable_token_indices": "it trains token embeddings",
    "layer_replication": "it repeats layers",
}
VARIANTS = ("alora_invocation_tokens", "arrow_config", "use_bdlora", "use_qalora", "kasa_config", "monteclora_config")


@dataclass(frozen=True)
class Merged:
    """What an adapter brought: the update of every linear that it adapts (d_out, d_in), and head tensors by their full names."""

    updates: dict[str, Tensor] = field(default_factory=dict)
    head: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def merge_adapter(folder: str, backbone: Backbone) -> Merged:
    """Add the updates of the adapter in `folder` to the weights of the backbone, in place; FieldError of one sentence."""
    if not folder:
        return Merged()
    merged = read_adapter(Path(folder).expanduser(), backbone)
    for name, update in merged.updates.items():
        linear = backbone.model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        linear.weight += update
    return merged


def read_adapter(folder: Path, backbone: Backbone) -> Merged:
    """What peft makes of the adapter on this backbone: updates s B A as matrices, and the head that was saved with it."""
    if missing := [file for file in FILES if not (folder / file).is_file()]:
        raise _refused(folder, f"{missing[0]} is not in it")
    try:
        config: Any = LoraConfig.from_pretrained(str(folder))
        kind = json.loads((folder / FILES[0]).read_text(encoding="utf-8")).get("peft_type")
        stored = load_file(folder / FILES[1])
    except Exception as error:
        raise _refused(folder, f"it cannot be read ({_first_line(error)})") from error
    reasons = [f"it is of the kind {kind}"] if kind != "LORA" else []
    reasons += [reason for name, reason in NOT_A_PRODUCT.items() if getattr(config, name, None)]
    reasons += [f"it is a variant of LoRA ({name})" for name in VARIANTS if getattr(config, name, None)]
    reasons += ["it trains biases"] if getattr(config, "bias", "none") != "none" else []
    if reasons:
        raise _refused(folder, reasons[0])
    try:
        model: Any = PeftModel.from_pretrained(copy.deepcopy(backbone.model), str(folder)).eval()
    except Exception as error:
        raise _refused(folder, f"it does not fit this backbone ({_first_line(error)})") from error
    if get_peft_model_state_dict(model).keys() != stored.keys():
        raise _refused(folder, "it was trained on a backbone with other layers")
    return Merged(_updates(model, folder), _head(model, backbone.head, folder))


def _updates(model: Any, folder: Path) -> dict[str, Tensor]:
    updates: dict[str, Tensor] = {}
    for name, layer in model.base_model.model.named_modules():
        if isinstance(layer, LoraLayer):
            if not isinstance(layer.get_base_layer(), nn.Linear):
                raise _refused(folder, f"it adapts {name}, which is no linear")
            adapted: Any = layer
            updates[name] = adapted.get_delta_weight("default").detach()
    return updates


def _head(model: Any, head: tuple[str, ...], folder: Path) -> dict[str, Tensor]:
    """Tensors of the modules that were saved whole; only the head may be among them."""
    found: dict[str, Tensor] = {}
    for name, module in model.base_model.model.named_modules():
        saved = getattr(module, "modules_to_save", None)
        if isinstance(saved, nn.ModuleDict):
            if name not in head:
                raise _refused(folder, f"it replaces {name}, which is not the head")
            found |= {f"head.{name}.{part}": tensor.detach().clone() for part, tensor in saved["default"].named_parameters()}
    return found


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(". ")[:200] or type(error).__name__


def _refused(folder: Path, reason: str) -> FieldError:
    allowed = f"a folder with {' and '.join(FILES)} of a plain LoRA for this backbone"
    return FieldError("adapter", str(folder), allowed, f"adapter is {str(folder)!r}: {reason}; allowed: {allowed}.")

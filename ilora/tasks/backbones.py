"""Backbones that come with the repository, made again by a script, and text encoders: `text-mini`, or any by name or folder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import logging

from ilora.checks import FieldError
from ilora.tasks import data_folder, pretrained
from ilora.tasks.base import Backbone
from ilora.tasks.catalogue import PLAIN_NAMES


def missing_backbone(path: Path, script: str) -> FieldError:
    """The FieldError for a backbone of the repository whose file cannot be read; `script` makes it again."""
    sentence = f"The backbone {path} is missing or damaged; `{script}` makes it again."
    return FieldError("backbone", str(path), f"what `{script}` makes", sentence)


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_embedded(fresh: PreTrainedModel, path: Path, script: str) -> Backbone:
    """The weights in `path` in float32 under the untrained head of `fresh`, a model of their shapes; frozen and in eval mode.

    FieldError, naming the script that makes the file again, where it is missing or damaged.
    """
    head = {name: tensor for name, tensor in fresh.state_dict().items() if name.startswith("classifier.")}
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        with _without_progress_bar():
            loaded: Any = type(fresh).from_pretrained(
                None, config=fresh.config, state_dict=tensors | head, output_loading_info=True
            )
        model, info = loaded
        if info["missing_keys"] or info["unexpected_keys"]:
            raise RuntimeError("other tensors than this model's")
    except (OSError, SafetensorError, RuntimeError) as error:
        raise missing_backbone(path, script) from error
    return Backbone(model.requires_grad_(False).eval(), head=("classifier",))


TEXT_MINI = "text-mini"


def load_tokenizer(name: str) -> Any:
    """The tokenizer that belongs to the backbone."""
    with _place(name) as place:
        return pretrained.load_tokenizer(place)


def load_encoder(name: str, outputs: int) -> Backbone:
    """The pretrained encoder, frozen and in eval mode, with an untrained head of `outputs` that is the same at every call."""
    with _place(name) as place:
        return pretrained.load_pretrained("text", place, outputs)


@contextmanager
def _place(name: str) -> Iterator[str]:
    """Where a backbone is loaded from; a failure of our own says how it is made again."""
    if name != TEXT_MINI:
        yield name
        return
    place = data_folder() / TEXT_MINI
    try:
        yield str(place)
    except FieldError as error:
        script = "python -m tools.pretrain.pretrain_text --glue FOLDER"
        raise missing_backbone(place, script) from error


def _ends_with(name: str, suffix: str) -> bool:
    return f".{name}".endswith(f".{suffix}")


def _matches(name: str, target: str) -> bool:
    if target == "mlp-out" and _ends_with(name, "attention.output.dense"):
        return False
    return any(_ends_with(name, suffix) for suffix in PLAIN_NAMES.get(target, (target,)))


def _body(model: nn.Module, head: Sequence[str]) -> dict[str, nn.Linear]:
    """Every linear outside the head, by full module name and in model order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not any(f"{name}.".startswith(f"{part}.") for part in head)
    }


def _choices(linears: dict[str, nn.Linear]) -> list[str]:
    """What a user can ask for: the plain names that occur, then the last name of every linear that has none."""
    plain = [target for target in PLAIN_NAMES if any(_matches(name, target) for name in linears)]
    others = (name for name in linears if not any(_matches(name, target) for target in plain))
    return plain + list(dict.fromkeys(name.rpartition(".")[2] for name in others))


def find_linears(model: nn.Module, targets: Sequence[str], head: Sequence[str] = ("classifier",)) -> dict[str, nn.Linear]:
    """Linears that `targets` name (plain names or module-name suffixes), by full module name; weights (d_out, d_in)."""
    linears = _body(model, head)
    for target in targets:
        if not any(_matches(name, target) for name in linears):
            known = ", ".join(_choices(linears))
            raise FieldError("targets", target, known, f"targets: no linear is called {target!r}; this model has {known}")
    return {name: linear for name, linear in linears.items() if any(_matches(name, target) for target in targets)}


def check_rank(rank: int, linears: Mapping[str, nn.Linear]) -> None:
    """FieldError for a rank that the smallest of these linears cannot carry."""
    greatest = min(min(linear.weight.shape) for linear in linears.values())
    if rank > greatest:
        raise FieldError("ranks", rank, f"up to {greatest}, the smallest dimension of the layers that are adapted")

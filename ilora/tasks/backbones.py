"""Backbones that come with the repository, made again by a script, and text encoders: `text-mini`, or any by name or folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedModel
from transformers.utils import logging

from ilora.checks import FieldError
from ilora.tasks import data_folder, pretrained
from ilora.tasks.base import Backbone


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

"""Any transformers model as a backbone, by its name on the Hugging Face hub or by its folder.

Weights are read from safetensors only, and no code that comes with a model is run.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils import logging

from ilora.checks import FieldError
from ilora.tasks.base import Backbone, Inputs

MODELS: dict[str, Any] = {"image": AutoModelForImageClassification, "text": AutoModelForSequenceClassification}
HEAD_SEED = 0
SAFE: dict[str, Any] = {"trust_remote_code": False}


def load_pretrained(kind: str, name: str, outputs: int) -> Backbone:
    """The model, frozen, in float32 and in eval mode, with an untrained head of `outputs` that is the same at every call.

    kind: "image" or "text". Its head is whatever stands beside the encoder: one linear, or several. FieldError of one sentence.
    """
    with _explained(name, kind):
        config = AutoConfig.from_pretrained(name, num_labels=outputs, **SAFE)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(HEAD_SEED)
            loaded: Any = MODELS[kind].from_pretrained(
                name,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,  # a head for other classes is not taken over
                output_loading_info=True,
                **SAFE,
            )
    model, info = loaded
    head = head_of(model)
    lost = [tensor for tensor in info["missing_keys"] if not tensor.startswith(head)]
    if lost or not head:
        raise _refused(name, f"its file lacks weights of the model ({', '.join(sorted(lost)[:3]) or 'no head'})")
    return Backbone(model.requires_grad_(False).eval(), head)


def head_of(model: nn.Module) -> tuple[str, ...]:
    """The modules beside the encoder that have parameters, in the order in which the model has them."""
    encoder = getattr(model, "base_model_prefix", "")
    return tuple(name for name, part in model.named_children() if name != encoder and any(True for _ in part.parameters()))


def load_tokenizer(name: str) -> Any:
    """The tokenizer that belongs to the model."""
    with _explained(name, "text"):
        return AutoTokenizer.from_pretrained(name, **SAFE)


@dataclass(frozen=True)
class ImagePreparation:
    """Stored images (..., c, h, w), bytes or floats in 0..1, as a model wants them: its size, its mean and deviation."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, inputs: Inputs) -> Inputs:
        """Resize (bicubic, antialiased) and normalise in one batch, on the images' own device."""
        stored = inputs["pixel_values"]
        pixels = stored.flatten(0, -4) / 255 if stored.dtype == torch.uint8 else stored.flatten(0, -4)
        if pixels.shape[1] == 1:
            pixels = pixels.expand(-1, len(self.mean), -1, -1)
        if tuple(pixels.shape[-2:]) != self.size:
            pixels = functional.interpolate(pixels, self.size, mode="bicubic", antialias=True).clamp(0, 1)
        mean, std = (torch.tensor(values, device=pixels.device).view(-1, 1, 1) for values in (self.mean, self.std))
        return {"pixel_values": ((pixels - mean) / std).unflatten(0, stored.shape[:-3])}


def image_preparation(name: str) -> ImagePreparation:
    """What the model's own image processor does to an image, without its crop: small images are resized to the model's size.

    A folder without a processor's settings gets mean and deviation 0.5, as ViT has them.
    """
    with _explained(name, "image"):
        config = AutoConfig.from_pretrained(name, **SAFE)
        settings: Any = None
        if not Path(name).is_dir() or Path(name, "preprocessor_config.json").exists():
            settings = AutoImageProcessor.from_pretrained(name, **SAFE)
    channels, size = getattr(config, "num_channels", 3), getattr(config, "image_size", 224)
    height, width = size if isinstance(size, Sequence) else (size, size)
    half = (0.5,) * channels
    if settings is None:
        return ImagePreparation((height, width), half, half)
    return ImagePreparation((height, width), tuple(settings.image_mean or half), tuple(settings.image_std or half))


@contextmanager
def _explained(name: str, kind: str) -> Iterator[None]:
    """Load quietly, and turn what goes wrong into one sentence that says what to do."""
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.set_verbosity_error()  # its report on the head, which is new on purpose
    logging.disable_progress_bar()
    try:
        yield
    except Exception as error:
        raise _refused(name, _reason(error, kind)) from error
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _refused(name: str, reason: str) -> FieldError:
    allowed = "a transformers model's name on the hub, or a folder with its config.json and model.safetensors"
    return FieldError("backbone", name, allowed, f"backbone is {name!r}: {reason}; allowed: {allowed}.")


REASONS: tuple[tuple[Callable[[BaseException], bool], str], ...] = (
    (lambda e: isinstance(e, GatedRepoError), "its owner wants a licence accepted: do so on its page, then `hf auth login`"),
    (
        lambda e: isinstance(e, RepositoryNotFoundError | HFValidationError),
        "neither a folder here nor a public model of that name",
    ),
    (
        lambda e: isinstance(e, LocalEntryNotFoundError | ConnectionError),
        "it is not on this machine, and the hub does not answer",
    ),
    (lambda e: isinstance(e, OSError) and e.errno == errno.ENOSPC, "the disk is full: make room, or set HF_HOME to another one"),
    (lambda e: isinstance(e, MemoryError), "it does not fit the memory of this machine"),
    (lambda e: isinstance(e, SafetensorError), "its weights are truncated or damaged: fetch them anew"),
    (lambda e: "trust_remote_code" in str(e), "it brings its own code, which is never run here"),
    (lambda e: "safetensors" in str(e), "it has no weights as safetensors"),
    (lambda e: "Unrecognized configuration class" in str(e), "transformers has no classifier of {kind}s for it"),
    (
        lambda e: any(words in str(e) for words in ("Unrecognized model", "model type", "config.json", "JSON")),
        "its config.json is missing, damaged, or names no model that transformers knows",
    ),
)


def _reason(error: BaseException, kind: str) -> str:
    """Why a model cannot be had: the first of REASONS that fits the error or what caused it, else its first line."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for fits, reason in REASONS:
        if any(map(fits, chain)):
            return reason.format(kind=kind)
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


def cut_padding(inputs: Inputs) -> Inputs:
    """Tokens (..., L) without the columns that no row uses, and as int64; `attention_mask` says what is used."""
    used = inputs["attention_mask"].flatten(0, -2).any(0)
    length = int(used.nonzero().max()) + 1 if used.any() else 1
    return {name: tensor[..., :length].long() for name, tensor in inputs.items()}

"""Text encoders as backbones: `text-mini`, which comes with the repository, or any transformers encoder by name or folder."""

from typing import Any

from ilora.tasks import data_folder, pretrained
from ilora.tasks.base import Backbone

TEXT_MINI = "text-mini"


def load_tokenizer(name: str) -> Any:
    """The tokenizer that belongs to the backbone."""
    if name != TEXT_MINI:
        return pretrained.load_tokenizer(name)
    try:
        return pretrained.load_tokenizer(str(data_folder() / TEXT_MINI))
    except ValueError as error:
        raise _damaged() from error


def load_encoder(name: str, outputs: int) -> Backbone:
    """The pretrained encoder, frozen and in eval mode, with an untrained head of `outputs` that is the same at every call."""
    if name != TEXT_MINI:
        return pretrained.load_pretrained("text", name, outputs)
    try:
        return pretrained.load_pretrained("text", str(data_folder() / TEXT_MINI), outputs)
    except ValueError as error:
        raise _damaged() from error


def _damaged() -> RuntimeError:
    script = "python -m ilora.tasks.pretrain_text --glue FOLDER"
    return RuntimeError(f"The backbone {data_folder() / TEXT_MINI} is missing or damaged; `{script}` makes it again.")

"""Text encoders as backbones: `text-mini`, which comes with the repository, or any transformers encoder by name or folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ilora.checks import FieldError
from ilora.tasks import data_folder, pretrained
from ilora.tasks.base import Backbone
from ilora.tasks.embedded import missing_backbone

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

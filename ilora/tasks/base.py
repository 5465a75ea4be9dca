"""What every task hands to the rest: data held as whole tensors, and a frozen backbone with a fresh head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ilora.tasks.catalogue import TaskCard
from ilora.tasks.styles import Style

Inputs = dict[str, Tensor]
Prepare = Callable[[Inputs], Inputs]
Augment = Callable[[Inputs, Tensor], Inputs]

AUGMENT_DRAWS = 4  # uniform numbers that every training sample brings to its augmentation


def as_stored(inputs: Inputs) -> Inputs:
    """The rows as they are: they are the model's arguments already."""
    return inputs


@dataclass(frozen=True)
class Data:
    """Samples as whole tensors on one device, stored small, made into the model's arguments in batch when they are needed.

    `inputs` maps names to (n, ...), `labels` is (n,): whole numbers for classes, floats for a regression. `prepare` maps stored
    rows of any leading shape (..., ...) to the model's arguments of the same leading shape (normalise, resize, cut the padding
    that no row uses). `augment`, in training only, changes stored rows by uniform draws (..., AUGMENT_DRAWS) in 0..1, so that
    a sample's pixels do not depend on the batch or the engine that it goes through.
    """

    inputs: Inputs
    labels: Tensor
    prepare: Prepare = as_stored
    augment: Augment | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> "Data":
        """Some of the samples."""
        return replace(self, inputs={name: tensor[part] for name, tensor in self.inputs.items()}, labels=self.labels[part])

    def to(self, device: str) -> "Data":
        """The same samples on `device`."""
        moved = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return replace(self, inputs=moved, labels=self.labels.to(device))

    def alike(self, rows: int) -> tuple[Tensor, ...]:
        """All sample indices in parts of at most `rows`; of texts, which have an attention mask, the short ones first."""
        mask = self.inputs.get("attention_mask")
        order = torch.arange(len(self), device=self.labels.device) if mask is None else mask.sum(1).argsort(stable=True)
        return order.split(rows)

    def rows(self, index: Tensor | slice, draws: Tensor | None = None) -> Inputs:
        """The model's arguments for the samples at `index` (any shape); `draws` (..., AUGMENT_DRAWS) augment them."""
        stored = {name: tensor[index] for name, tensor in self.inputs.items()}
        if self.augment is not None and draws is not None:
            stored = self.augment(stored, draws)
        return self.prepare(stored)


@dataclass(frozen=True)
class Backbone:
    """A pretrained transformers model, `model(**inputs).logits`, and the names of the modules that form its head."""

    model: nn.Module
    head: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """Training data to be spread over clients, test data that nobody trains on, and the backbone to adapt."""

    card: TaskCard
    train: Data
    test: Data
    load_backbone: Callable[[], Backbone]
    styles: Mapping[str, Style] = field(default_factory=dict)  # inputs in, inputs out, by the names that the card lists
    more_tests: Mapping[str, Data] = field(default_factory=dict)  # name -> further test data; scored as "<metric> <name>"
    text_of: Callable[[Data, int], str] | None = None  # of a text task: what the model reads of one sample, as text

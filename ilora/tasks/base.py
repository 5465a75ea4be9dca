"""What every task hands to the rest: data held as whole tensors, and a frozen backbone with a fresh head."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from ilora.tasks.catalogue import TaskCard
from ilora.tasks.styles import Style


@dataclass(frozen=True)
class Data:
    """Samples as whole tensors: `inputs` maps the model's argument names to (n, ...), `labels` is (n,)."""

    inputs: dict[str, Tensor]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: str) -> "Data":
        """The same samples on `device`."""
        return Data({name: tensor.to(device) for name, tensor in self.inputs.items()}, self.labels.to(device))


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

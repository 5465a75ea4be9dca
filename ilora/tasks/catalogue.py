"""What tasks there are, in words and numbers: all that can be said of a task before torch or its data are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TARGETS = ("query", "value")  # what carries adapters where a backbone's card says nothing else
PLAIN_NAMES: dict[str, tuple[str, ...]] = {
    "query": ("query", "q_proj", "q_lin"),
    "key": ("key", "k_proj", "k_lin"),
    "value": ("value", "v_proj", "v_lin"),
    "output": ("attention.output.dense", "o_proj", "out_proj", "out_lin"),
    "mlp-in": ("intermediate.dense", "fc1", "lin1"),
    "mlp-out": ("output.dense", "fc2", "lin2"),
}
MOST_CLIENT_ROWS = 4_000  # clients x test samples that are evaluated in a round; with many clients each sees fewer samples
LEAST_TESTS, MOST_TESTS = 40, 500  # test samples that each client sees at least, and at most


@dataclass(frozen=True)
class BackboneCard:
    """A frozen model as a user chooses it: what it is, and the linears that can carry adapters."""

    title: str
    about: str
    linears: Mapping[str, tuple[int, int]]  # plain name of a linear -> (d_out, d_in); layers of different widths: the smallest
    targets: tuple[str, ...] = TARGETS  # the linears that carry adapters by default
    download: str = ""  # what has to be fetched first, and how large it is; empty: nothing
    pass_ms: float | None = None  # a round's time over its forward passes on two CPU cores, ms, roughly; None: never measured

    def smallest_dimension(self, targets: Sequence[str]) -> int:
        """Largest rank that every layer named by `targets` can carry."""
        return min(min(self.linears[target]) for target in targets)


@dataclass(frozen=True)
class TaskCard:
    """A task as a user chooses it: real data, the frozen backbones that fit it, and its sizes."""

    title: str
    about: str
    backbones: Mapping[str, BackboneCard]  # by name; the first one is the default
    classes: tuple[str, ...]  # empty for a regression
    train_samples: int
    test_samples: int
    kind: str = "image"  # or "text"
    metric: str = "accuracy"  # the main score, a key of ilora.tasks.metrics.METRICS
    metrics: tuple[str, ...] = ("accuracy",)  # all its scores, the main one among them
    styles: tuple[str, ...] = ()  # the styles in which clients may see its samples, for attribute skew
    regression: bool = False  # labels are numbers, and the head has one output
    any_backbone: bool = False  # whether any transformers model of its kind will do, by name or folder
    download: str = ""  # what data have to be fetched first, and how large they are; empty: nothing
    files: tuple[str, ...] = ()  # any of these in the data folder shows that there is nothing to fetch

    @property
    def backbone(self) -> str:
        """The name of the default backbone."""
        return next(iter(self.backbones), "")

    @property
    def outputs(self) -> int:
        """How many numbers the head gives for a sample."""
        return 1 if self.regression else len(self.classes)

    def fits(self, backbone: str) -> bool:
        """Whether this task can be learned on the backbone of that name."""
        return backbone in self.backbones or (self.any_backbone and bool(backbone))


def tests_of_client(tests: int, clients: int) -> int:
    """How many of the first test samples each of so many clients is evaluated on."""
    return min(tests, MOST_TESTS, max(LEAST_TESTS, MOST_CLIENT_ROWS // clients))

"""What tasks there are, in words and numbers: all that can be said of a task before torch or its data are loaded."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskCard:
    """A task as a user chooses it: real data, the frozen backbone that is adapted to it, and their sizes."""

    title: str
    about: str
    backbone: str  # the default backbone
    backbones: tuple[str, ...]
    classes: tuple[str, ...]
    train_samples: int
    test_samples: int
    linears: dict[str, tuple[int, int]]  # name pattern of a linear -> (d_out, d_in)
    targets: tuple[str, ...]  # the linears that carry adapters by default
    styles: tuple[str, ...] = ()  # the styles in which clients may see its samples, for attribute skew
    download: str = ""  # what has to be fetched first, and how large it is; empty: nothing

    def smallest_dimension(self, targets: Sequence[str]) -> int:
        """Largest rank that every layer named by `targets` can carry."""
        return min(min(self.linears[target]) for target in targets)

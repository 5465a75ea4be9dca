"""Every draw comes from a generator keyed by what it is for: two methods with one seed see the same clients and batches."""

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def _key(seed: int, purpose: str, *labels: int | str) -> int:
    text = "/".join(map(str, (seed, purpose, *labels)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, purpose: str, *labels: int | str) -> np.random.Generator:
    """A numpy generator for (seed, purpose, labels), the same on every machine."""
    return np.random.default_rng(_key(seed, purpose, *labels))


def torch_generator(seed: int, purpose: str, *labels: int | str) -> "torch.Generator":
    """A CPU torch generator for (seed, purpose, labels); draw on the CPU and move, so that every device starts alike."""
    import torch  # here, because the app draws partitions without it

    return torch.Generator().manual_seed(_key(seed, purpose, *labels))

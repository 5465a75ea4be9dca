"""In what numbers the backbone is passed through; factors, optimizer and aggregation are float32 whatever is chosen."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def activations(precision: str, device: torch.device) -> torch.autocast:
    """A context for forward passes: under "bfloat16" matrix products and what flows between layers are bfloat16."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


@contextmanager
def products_in(precision: str) -> Iterator[None]:
    """A context for training: under "tf32" CUDA multiplies float32 matrices with 10 bits of mantissa."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before

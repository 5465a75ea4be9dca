"""What a run is computed on: the device, the precision of its products, and how much memory a round takes."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ilora.checks import FieldError


def pick_device(wish: str) -> str:
    """The device to run on; "auto" takes cuda, then mps, then cpu. FieldError for one that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wish == "auto":
        return next(device for device, available in there.items() if available)
    if not there[wish]:
        allowed = ", ".join(["auto", *(device for device, available in there.items() if available)])
        raise FieldError("device", wish, allowed, f"device is {wish!r}; allowed here: {allowed}.")
    return wish


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


def forget_peak(device: str) -> None:
    """Begin to watch for a new peak, where the device can."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def peak_megabytes(device: str) -> float:
    """MB: on CUDA the most that tensors took since `forget_peak`, elsewhere the most that this process ever took."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    # not getrusage: on Linux a new process inherits the peak of the one that started it
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 / 1e6 if found else float("nan")

"""How much memory a round takes, as far as the device tells."""

import re
import sys
from pathlib import Path

import torch


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

"""How much memory a round takes, as far as the device tells."""

import sys

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
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB on Linux, bytes on macOS
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6

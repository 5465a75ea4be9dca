"""Which device a run is on."""

import torch


def pick_device(wish: str) -> str:
    """The device to run on; "auto" takes cuda, then mps, then cpu. ValueError for one that is not there."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wish == "auto":
        return next(device for device, available in there.items() if available)
    if not there[wish]:
        raise ValueError(f"device is {wish!r}; allowed here: {', '.join(['auto', *(d for d, ok in there.items() if ok)])}.")
    return wish

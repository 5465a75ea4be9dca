"""Images as one uint8 tensor (n, c, h, w): what happens to a batch of them before the model sees it, all on their device."""

import torch
from torch import Tensor


def normalise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Bytes (..., c, h, w) as floats with the channels' `mean` and `std`, both given in 0..1, taken out."""
    shift = torch.tensor(mean, device=images.device).view(-1, 1, 1)
    scale = torch.tensor(std, device=images.device).view(-1, 1, 1)
    return (images / 255 - shift) / scale


def flip_and_crop(images: Tensor, draws: Tensor, padding: int = 4) -> Tensor:
    """Each image (..., c, h, w) shifted by up to `padding` pixels, its border reflected, and mirrored or not.

    draws (..., 3 or more), uniform in 0..1: how far down, how far right, whether mirrored.
    """
    height, width = images.shape[-2:]
    down, right = ((draws[..., i] * (2 * padding + 1)).long() - padding for i in (0, 1))
    rows, columns = _shifted(height, down), _shifted(width, right)
    columns = torch.where(draws[..., 2:3] < 0.5, columns.flip(-1), columns)
    moved = images.gather(-2, rows[..., None, :, None].expand_as(images))
    return moved.gather(-1, columns[..., None, None, :].expand_as(images))


def _shifted(size: int, by: Tensor) -> Tensor:
    """(...) shifts -> (..., size): which pixel comes to stand at each place."""
    index = (torch.arange(size, device=by.device) + by[..., None]).abs()
    return torch.where(index >= size, 2 * (size - 1) - index, index)

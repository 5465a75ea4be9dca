"""The styles in which a client may see its images: the same digit or dog, another camera.

A style maps a model's inputs, `pixel_values` (n, C, H, W) as floats in 0..1 or as uint8, to inputs of the same shape and type.
"""

from collections.abc import Callable, Mapping
from functools import partial
from math import ceil

from torch import Tensor

Inputs = dict[str, Tensor]
Style = Callable[[Inputs], Inputs]


def plain(images: Tensor) -> Tensor:
    """The images as they are."""
    return images


def blur(images: Tensor, share: float = 0.1) -> Tensor:
    """A Gaussian blur whose deviation is a `share` of the image's width."""
    from torchvision.transforms.v2 import functional

    sigma = share * images.shape[-1]
    return functional.gaussian_blur(images, [2 * ceil(2 * sigma) + 1] * 2, [sigma, sigma])


def contrast(images: Tensor, strength: float = 0.3) -> Tensor:
    """Every pixel drawn towards its image's mean grey: `strength` of the contrast is left."""
    from torchvision.transforms.v2 import functional

    return functional.adjust_contrast(images, strength)


def rotation(images: Tensor, degrees: float = 45.0) -> Tensor:
    """Turned counter-clockwise about the centre; corners that come in are black."""
    from torchvision.transforms.v2 import InterpolationMode, functional

    return functional.rotate(images, degrees, InterpolationMode.BILINEAR)


def inversion(images: Tensor) -> Tensor:
    """Black for white."""
    from torchvision.transforms.v2 import functional

    return functional.invert(images)


def _of_images(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    return inputs | {"pixel_values": change(inputs["pixel_values"])}


IMAGE_STYLES: Mapping[str, Style] = {
    change.__name__: partial(_of_images, change) for change in (plain, blur, contrast, rotation, inversion)
}

"""What happens to a batch of images: the same as one by one with torch's own padding, and nothing mixes rows."""

import torch
from torch.nn import functional as F

from ilora.tasks.cifar import flip_and_crop, normalise


def some_images(*leading: int) -> torch.Tensor:
    return torch.randint(256, (*leading, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_a_batch_is_cropped_and_mirrored_as_one_image_after_the_other_out_of_a_reflected_border():
    images, draws = some_images(20), torch.rand(20, 4, generator=torch.Generator().manual_seed(1))
    for image, draw, found in zip(images, draws, flip_and_crop(images, draws), strict=True):
        padded = F.pad(image[None].float(), (4, 4, 4, 4), mode="reflect")[0]
        top, left = int(draw[0] * 9), int(draw[1] * 9)
        cropped = padded[:, top : top + 32, left : left + 32]
        assert torch.equal(cropped.flip(-1) if draw[2] < 0.5 else cropped, found.float())


def test_every_shift_is_drawn_and_the_middle_leaves_the_image_alone():
    images = some_images(1)
    assert torch.equal(flip_and_crop(images, torch.tensor([[0.5, 0.5, 0.9, 0.0]])), images)
    moved = {flip_and_crop(images, torch.tensor([[i / 9 + 0.01, 0.5, 0.9, 0.0]])).sum().item() for i in range(9)}
    assert len(moved) == 9


def test_clients_times_batch_gives_the_same_images_as_a_flat_batch():
    images, draws = some_images(3, 5), torch.rand(3, 5, 4)
    assert torch.equal(flip_and_crop(images, draws).flatten(0, 1), flip_and_crop(images.flatten(0, 1), draws.flatten(0, 1)))


def test_normalised_channels_have_mean_0_and_deviation_1_under_their_own_numbers():
    images = some_images(2, 8)
    pixels = images.double() / 255
    mean, std = pixels.mean((0, 1, 3, 4)), pixels.std((0, 1, 3, 4))
    found = normalise(images, tuple(mean.tolist()), tuple(std.tolist()))
    assert found.shape == images.shape
    assert found.mean((0, 1, 3, 4)).abs().max() < 1e-5
    assert (found.std((0, 1, 3, 4)) - 1).abs().max() < 1e-5

"""The draws of a round: who takes part, which samples make which batch, from where the head starts."""

from collections.abc import Collection, Mapping, Sequence
from math import ceil

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ilora.randomness import numpy_generator, torch_generator
from ilora.tasks.base import AUGMENT_DRAWS


def participants(clients: int, participation: float, seed: int, index: int, left_out: Collection[int] = ()) -> list[int]:
    """The clients of a round, ascending: a fraction of all but those left out, at least one, drawn without replacement."""
    there = [k for k in range(clients) if k not in left_out]
    count = max(1, int(participation * len(there) + 0.5))
    return sorted(numpy_generator(seed, "participation", index).choice(there, count, replace=False).tolist())


def fresh_head(shapes: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A new head, normal with deviation 0.02 and zero biases, the same for every method."""
    generator = torch_generator(seed, "head")
    drawn = {}
    for name, tensor in shapes.items():
        numbers = 0.02 * torch.randn(tensor.shape, generator=generator) if tensor.ndim > 1 else torch.zeros(tensor.shape)
        drawn[name] = numbers.to(tensor)
    return drawn


def batch_plan(share: np.ndarray, steps: int, batch: int, random: np.random.Generator) -> np.ndarray:
    """(T, b) sample indices: a stream of shuffled passes over the client's samples, cut into batches."""
    passes = ceil(steps * batch / len(share))
    stream = np.concatenate([random.permutation(share) for _ in range(passes)] or [share[:0]])
    return stream[: steps * batch].reshape(steps, batch)


def client_batches(
    shares: Mapping[int, np.ndarray], ids: Sequence[int], steps: Sequence[int], batch: int, seed: int, index: int
) -> Tensor:
    """(C, T, b) sample indices of a round's clients; who takes fewer than T steps has zeros after them."""
    own = [
        batch_plan(shares[k], count, batch, numpy_generator(seed, "batches", index, k))
        for k, count in zip(ids, steps, strict=True)
    ]
    return pad_sequence([torch.from_numpy(plan) for plan in own], batch_first=True)


def steps_of(samples: int, batch: int, steps: int, epochs: int | None) -> int:
    """How many steps a client takes in a round: `steps`, or as many as it needs for `epochs` passes over its samples."""
    return steps if epochs is None else ceil(epochs * samples / batch)


def augment_draws(steps: int, batch: int, seed: int, index: int, client: int) -> Tensor:
    """(T, b, AUGMENT_DRAWS) uniform draws of one client in one round: how each of its samples is augmented."""
    return torch.rand(steps, batch, AUGMENT_DRAWS, generator=torch_generator(seed, "augment", index, client))


def client_draws(ids: Sequence[int], steps: Sequence[int], batch: int, seed: int, index: int) -> Tensor:
    """(C, T, b, AUGMENT_DRAWS) draws of a round's clients, with zeros after their last steps."""
    own = [augment_draws(count, batch, seed, index, k) for k, count in zip(ids, steps, strict=True)]
    return pad_sequence(own, batch_first=True)


def gradient_weights(samples: int, batch: int, scale: str) -> Tensor:
    """(n,) weights: a sum of per-sample gradients becomes their mean ("scaffold"), or batch means summed over n ("official")."""
    if scale == "scaffold":
        return torch.full((samples,), 1 / samples)
    sizes = torch.tensor([min(batch, samples - first) for first in range(0, samples, batch)])
    return 1 / (sizes.repeat_interleave(sizes) * samples)

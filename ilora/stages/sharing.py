"""Stage 2: what is trained, and what is sent? An ingredient names the slots of A and of B that move in a round."""

from typing import NamedTuple

from torch import Tensor

from ilora.adapters import slot_mask


class Shared(NamedTuple):
    """Slots that are trained and sent, (K, R) booleans for A and for B."""

    A: Tensor
    B: Tensor


def both(ranks: tuple[int, ...], slots: int, round: int) -> Shared:
    """Every slot of both factors that a client has."""
    owned = slot_mask(ranks, slots)
    return Shared(owned, owned)

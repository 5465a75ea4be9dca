"""Stage 2: what is trained, what is sent, what stays private?

An ingredient maps the turn to the slots of A and of B that are trained and that are sent. It may put a client's private
parts into `turn.start`.
"""

from typing import NamedTuple

from torch import Tensor

from ilora.turn import Turn


class Shared(NamedTuple):
    """Slots that are trained, and that are sent to the server, (C, R) booleans for each factor; whether the head is sent."""

    train_A: Tensor
    train_B: Tensor
    send_A: Tensor
    send_B: Tensor
    head: bool = True


def both(turn: Turn) -> Shared:
    """Train and send every slot of both factors that a client has."""
    return Shared(turn.owned, turn.owned, turn.owned, turn.owned)


def b_only(turn: Turn) -> Shared:
    """Train and send B alone; A stays the common random one for good (FFA-LoRA, arXiv:2403.12313)."""
    nothing = turn.owned & False
    return Shared(nothing, turn.owned, nothing, turn.owned)


def alternate(turn: Turn) -> Shared:
    """Train and send B in odd rounds, A in even ones, so that the other factor is common (RoLoRA, arXiv:2502.01755)."""
    if turn.index % 2 == 1:
        return b_only(turn)
    nothing = turn.owned & False
    return Shared(turn.owned, nothing, turn.owned, nothing)

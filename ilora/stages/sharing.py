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

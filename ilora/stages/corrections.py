"""Stage 4: how is a client's gradient corrected? An ingredient maps the turn to stacks added to every gradient, or None."""

import torch

from ilora.stacked import Parameters
from ilora.turn import Setting, Turn


def none(turn: Turn) -> None:
    """Clients follow their own gradient."""


class ControlVariates:
    """g <- g + (trunc_{r_k}(c) - c_k), c_k the client's mean gradient at the model it received (ILoRA; SCAFFOLD's option I).

    State: "c/<name>" (...), the server's, at the largest rank; "c_k/<name>" (N, ...), each client's, zero in slots it lacks.
    """

    extra_floats = 1  # numbers sent beside each trained number, each way

    def __init__(self, setting: Setting, control_scale: str = "scaffold") -> None:
        self.clients = setting.clients
        self.control_scale = control_scale
        self.state: Parameters = {}

    def __call__(self, turn: Turn) -> Parameters:
        """This round's corrections; c and the clients' c_k move on for the next round."""
        correction, owned, ids = {}, turn.spread(turn.owned, turn.owned), torch.tensor(turn.ids)
        for name, g in turn.gradient(self.control_scale).items():
            c = self.state.setdefault(f"c/{name}", g.new_zeros(g.shape[1:]))
            c_k = self.state.setdefault(f"c_k/{name}", g.new_zeros(self.clients, *g.shape[1:]))
            correction[name] = c * owned[name] - c_k[ids]
            c += (g - c_k[ids]).sum(0) / self.clients
            c_k[ids] = g
        return correction

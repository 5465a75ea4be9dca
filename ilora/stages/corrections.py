"""Stage 4: how is a client's gradient corrected?

An ingredient is a class that keeps tensors between rounds in `state`. Parameters are dicts of stacks, name -> (K, ...).
"""

from collections.abc import Callable

from torch import Tensor

Parameters = dict[str, Tensor]


class NoCorrection:
    """Clients follow their own gradient."""

    extra_floats = 0  # numbers sent beside each trained number, each way

    def __init__(self, clients: int) -> None:
        self.state: Parameters = {}

    def begin(self, ids: list[int], owned: Parameters, gradient: Callable[[str], Parameters]) -> Parameters | None:
        """Nothing is added to any gradient."""
        return None


class ControlVariates:
    """g <- g + (trunc_{r_k}(c) - c_k), c_k the client's mean gradient at the model it received (ILoRA; SCAFFOLD's option I).

    State: "c/<name>" (...), the server's, at the largest rank; "c_k/<name>" (N, ...), each client's, zero in slots it lacks.
    """

    extra_floats = 1

    def __init__(self, clients: int, control_scale: str = "scaffold") -> None:
        self.clients = clients
        self.control_scale = control_scale
        self.state: Parameters = {}

    def begin(self, ids: list[int], owned: Parameters, gradient: Callable[[str], Parameters]) -> Parameters:
        """The correction of this round's clients; c and their c_k move on for the next round.

        ids: this round's clients; owned: 1 where a client owns a number, else 0; gradient: takes the scale and gives each
        client's gradient over all its samples at the model it received.
        """
        correction = {}
        for name, g in gradient(self.control_scale).items():
            c = self.state.setdefault(f"c/{name}", g.new_zeros(g.shape[1:]))
            c_k = self.state.setdefault(f"c_k/{name}", g.new_zeros(self.clients, *g.shape[1:]))
            correction[name] = c * owned[name] - c_k[ids]
            c += (g - c_k[ids]).sum(0) / self.clients
            c_k[ids] = g
        return correction

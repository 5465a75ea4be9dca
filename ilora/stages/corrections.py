"""Stage 4: how is a client's gradient corrected? An ingredient maps the turn to stacks added to every gradient, or None."""

from dataclasses import replace

import torch

from ilora.stacked import Parameters
from ilora.training import LocalWork
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


class Scaffold:
    """g <- g - c_k + c; then c_k <- the mean of the client's own gradients on its way (SCAFFOLD's option II, arXiv:1910.06378).

    Under plain SGD that mean is c_k - c + (theta_t - theta_k) / (K eta), the form in the paper; taken from the gradients, it
    holds under momentum and AdamW too. State: "c/<name>" (...), "c_k/<name>" (N, ...).
    """

    extra_floats = 1

    def __init__(self, setting: Setting) -> None:
        self.clients = setting.clients
        self.state: Parameters = {}

    def __call__(self, turn: Turn) -> Parameters:
        """This round's corrections c - c_k, cut to what each client has."""
        owned, ids = turn.spread(turn.owned, turn.owned), torch.tensor(turn.ids)
        for name, tensor in turn.start.items():
            self.state.setdefault(f"c/{name}", tensor.new_zeros(tensor.shape[1:]))
            self.state.setdefault(f"c_k/{name}", tensor.new_zeros(self.clients, *tensor.shape[1:]))
        return {name: self.state[f"c/{name}"] * owned[name] - self.state[f"c_k/{name}"][ids] for name in turn.start}

    def prepare(self, turn: Turn, work: LocalWork) -> LocalWork:
        """Ask for the mean gradients."""
        return replace(work, keep_gradients=True)

    def end(self, turn: Turn) -> None:
        """c_k <- mean gradient, c <- c + 1/N sum_k (change of c_k)."""
        ids = torch.tensor(turn.ids)
        for name, new in turn.trained.gradients.items() if turn.trained else ():
            c, c_k = self.state[f"c/{name}"], self.state[f"c_k/{name}"]
            c += (new - c_k[ids]).sum(0) / self.clients
            c_k[ids] = new

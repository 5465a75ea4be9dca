"""Stage 4: how is a client's gradient corrected? An ingredient maps the turn to stacks added to every gradient, or None."""

import torch

from ilora.stacked import Parameters
from ilora.training import MOMENTUM
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
    """g <- g - c_k + c; then c_k <- c_k - c + (theta_t - theta_k) / (K eta) (SCAFFOLD's option II, arXiv:1910.06378).

    K counts a step of SGD with momentum beta as often as its gradient moved the model, sum_i (1 - beta^i) / (1 - beta), so that
    the last term is a mean of corrected gradients; under AdamW it is none. State: "c/<name>" and "c_k/<name>" (N, ...).
    """

    extra_floats = 1

    def __init__(self, setting: Setting) -> None:
        self.clients = setting.clients
        beta = MOMENTUM if setting.optimizer == "sgd" else 0.0
        self.path = setting.lr * sum((1 - beta**i) / (1 - beta) for i in range(1, setting.local_steps + 1))
        self.state: Parameters = {}

    def __call__(self, turn: Turn) -> Parameters:
        """This round's corrections c - c_k, cut to what each client has."""
        owned, ids = turn.spread(turn.owned, turn.owned), torch.tensor(turn.ids)
        for name, tensor in turn.start.items():
            self.state.setdefault(f"c/{name}", tensor.new_zeros(tensor.shape[1:]))
            self.state.setdefault(f"c_k/{name}", tensor.new_zeros(self.clients, *tensor.shape[1:]))
        return {name: self.state[f"c/{name}"] * owned[name] - self.state[f"c_k/{name}"][ids] for name in turn.start}

    def end(self, turn: Turn) -> None:
        """c_k <- (theta_t - theta_k) / (K eta) - (c - c_k), c <- c + 1/N sum_k (its change); nothing where nobody could move."""
        if self.path == 0:
            return
        ids = torch.tensor(turn.ids)
        for name, correction in self(turn).items():
            c, c_k = self.state[f"c/{name}"], self.state[f"c_k/{name}"]
            new = (turn.start[name] - turn.result[name]) / self.path - correction
            c += (new - c_k[ids]).sum(0) / self.clients
            c_k[ids] = new

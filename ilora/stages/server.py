"""Stage 8: what does the server do with it? An ingredient maps (turn, layer, that layer's Aggregate) to the one that is kept."""

from dataclasses import replace

import torch
from torch import Tensor

from ilora.adapters import Factors
from ilora.aggregation import Aggregate
from ilora.stacked import Parameters
from ilora.turn import Setting, Turn


def take(turn: Turn, layer: str, aggregate: Aggregate) -> Aggregate:
    """Keep it as it is."""
    return aggregate


class AdamW:
    """Step the server's factors by AdamW on the gradient -Delta, Delta = new - old (FSLoRA, arXiv:2501.19389).

    Without weight decay. State: "m/<layer>.A", "v/<layer>.A", both of B alike: the moments, in the server's slots.
    """

    def __init__(self, setting: Setting, server_lr: float = 0.01, epsilon: float = 1e-8) -> None:
        self.lr, self.epsilon = server_lr, epsilon
        self.state: Parameters = {}

    def __call__(self, turn: Turn, layer: str, aggregate: Aggregate) -> Aggregate:
        """m <- .9 m + .1 Delta, v <- .999 v + .001 Delta^2, x <- x + lr m^ / (sqrt(v^) + epsilon)."""
        old, _ = turn.server()
        A = self.step(turn.index, f"{layer}.A", old[f"{layer}.A"][0], aggregate.bank.A)
        B = self.step(turn.index, f"{layer}.B", old[f"{layer}.B"][0], aggregate.bank.B)
        return replace(aggregate, bank=Factors(A, B))

    def step(self, t: int, name: str, old: Tensor, new: Tensor) -> Tensor:
        """One factor's step in round t."""
        delta = new - old
        m = 0.9 * self.state.get(f"m/{name}", torch.zeros_like(old)) + 0.1 * delta
        v = 0.999 * self.state.get(f"v/{name}", torch.zeros_like(old)) + 0.001 * delta.square()
        self.state |= {f"m/{name}": m, f"v/{name}": v}
        return old + self.lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + self.epsilon)

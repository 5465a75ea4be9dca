"""Stage 8: what does the server do with it? An ingredient maps (server, layer, that layer's Aggregate) to the one it keeps.

A `Stage` may have `head(server, before, mean)`, which maps the server's head and the mean of the clients' to the one it keeps.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ilora.lora.aggregation import Aggregate
from ilora.lora.factors import Factors
from ilora.stages.context import RunSetting, ServerView
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters


def take(server: ServerView, layer: str, aggregate: Aggregate) -> Aggregate:
    """Keep it as it is."""
    return aggregate


class AdamW(Stage):
    """Step the server's factors by AdamW on the gradient -Delta, Delta = new - old (FSLoRA, arXiv:2501.19389).

    Without weight decay. State: "m/<layer>.A", "v/<layer>.A", both of B alike: the moments, in the server's slots.
    """

    def __init__(self, setting: RunSetting, server_lr: float = 0.01, epsilon: float = 1e-8) -> None:
        self.lr, self.epsilon = server_lr, epsilon

    def __call__(self, server: ServerView, layer: str, aggregate: Aggregate) -> Aggregate:
        """m <- .9 m + .1 Delta, v <- .999 v + .001 Delta^2, x <- x + lr m^ / (sqrt(v^) + epsilon)."""
        old, _ = server.before
        A = self._step(server.index, f"{layer}.A", old[f"{layer}.A"][0], aggregate.server_factors.A)
        B = self._step(server.index, f"{layer}.B", old[f"{layer}.B"][0], aggregate.server_factors.B)
        return replace(aggregate, server_factors=Factors(A, B))

    def _step(self, t: int, name: str, old: Tensor, new: Tensor) -> Tensor:
        """One factor's step in round t."""
        delta = new - old
        m = 0.9 * self.state.get(f"m/{name}", torch.zeros_like(old)) + 0.1 * delta
        v = 0.999 * self.state.get(f"v/{name}", torch.zeros_like(old)) + 0.001 * delta.square()
        self.state |= {f"m/{name}": m, f"v/{name}": v}
        return old + self.lr * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + self.epsilon)


class Adam(Stage):
    """m <- b1 m + (1 - b1) D, v <- b2 v + (1 - b2) D^2, theta <- theta_t + eta m / (sqrt(v) + tau) (FedAdam, arXiv:2003.00295).

    D is what the mean changed, number by number in A, B and the head; no bias correction, as in the paper's algorithm.
    State: "m/<name>" and "v/<name>", at the server's rank.
    """

    def __init__(
        self, setting: RunSetting, server_lr: float = 0.01, beta1: float = 0.9, beta2: float = 0.99, tau: float = 1e-3
    ) -> None:
        self.server_lr, self.beta1, self.beta2, self.tau = server_lr, beta1, beta2, tau

    def __call__(self, server: ServerView, layer: str, aggregate: Aggregate) -> Aggregate:
        """One layer's factors, moved by Adam instead of to their mean."""
        before, _ = server.before
        A, B = (
            self._step(f"{layer}.{n}", before[f"{layer}.{n}"][0], mean)
            for n, mean in zip("AB", aggregate.server_factors, strict=True)
        )
        return replace(aggregate, server_factors=Factors(A, B))

    def head(self, server: ServerView, before: Parameters, mean: Parameters) -> Parameters:
        """The head, moved alike."""
        return {name: self._step(name, before[name], mean[name]) for name in mean}

    def _step(self, name: str, before: Tensor, mean: Tensor) -> Tensor:
        """One tensor, moved by one step of Adam along mean - before."""
        D, zero = mean - before, before.new_zeros(before.shape)
        m = self.state[f"m/{name}"] = self.beta1 * self.state.get(f"m/{name}", zero) + (1 - self.beta1) * D
        v = self.state[f"v/{name}"] = self.beta2 * self.state.get(f"v/{name}", zero) + (1 - self.beta2) * D.square()
        return before + self.server_lr * m / (v.sqrt() + self.tau)

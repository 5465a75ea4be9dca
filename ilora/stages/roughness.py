"""A proximal term as strong as a client's loss landscape is rough (RI-FedAvg, arXiv:2602.10595, a reconstruction)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ilora.lora.factors import Stack
from ilora.randomness import torch_generator
from ilora.stages.context import ClientView, RunSetting
from ilora.stages.objectives import cross_entropy, inner, movement
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters, layer_stack
from ilora.training.local_work import Step


def roughness(slices: Tensor, normalise: str) -> Tensor:
    """I = std_m T_m / mean_m T_m, T_m the total variation of the loss along direction m: slices (K, M, S) -> (K,).

    normalise "range": T_m over max f_m - min f_m, which is 2 for every bowl at its minimum and 1 for every slope, so that I = 0
    where all directions are bowls or all are slopes; a mixture of both, or ripples, is what counts as rough.
    """
    T = slices.diff(dim=-1).abs().sum(-1)
    if normalise == "range":
        T = T / (slices.amax(-1) - slices.amin(-1)).clamp_min(1e-12)
    return T.std(1, unbiased=False) / T.mean(1).clamp_min(1e-12)


def reach(stack: Stack, towards: Stack, target: Tensor) -> Tensor:
    """(K,) the step c at which ||(B + c D_B)(A + c D_A) - B A|| = target (K,), by bisection over powers of 2.

    The change is c X + c^2 Y with X = D_B A + B D_A and Y = D_B D_A, so its square is a polynomial of Gram terms.
    """
    slots = (2 * stack.A.shape[1],) * len(stack)
    X = {"": Stack(torch.cat([stack.A, towards.A], 1), torch.cat([towards.B, stack.B], 2), slots)}
    Y = {"": towards}
    xx, xy, yy = inner(X, X), inner(X, Y), inner(Y, Y)
    low, high = torch.full_like(xx, -40), torch.full_like(xx, 40)
    for _ in range(50):
        middle = (low + high) / 2
        c = middle.exp2()
        short = c**2 * xx + 2 * c**3 * xy + c**4 * yy < target**2
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return low.exp2()


class Roughness(Stage):
    """F_k + pull/2 rho_k ||theta - theta_t||^2, rho_k the client's roughness index, raw or saturated as I / (I + saturation).

    The index is measured where a client stands after local training, every `refresh` rounds, on one batch, along `directions`
    random directions in A and B that move each layer's update by `radius` ||theta_0||. A client remembers its "roughness", 0 at
    first.
    """

    client_memory = ("",)

    def __init__(
        self,
        setting: RunSetting,
        pull: float = 0.1,
        index: str = "saturated",
        saturation: float = 0.2,
        normalise: str = "range",
        refresh: int = 2,
        directions: int = 16,
        points: int = 11,
        radius: float = 0.02,
        space: str = "product",
    ) -> None:
        self.setting = setting
        self.pull, self.index, self.saturation, self.normalise, self.space = pull, index, saturation, normalise, space
        self.refresh, self.directions, self.points, self.radius = refresh, directions, points, radius

    def remember(self, ids: Sequence[int]) -> Parameters:
        """Nobody was measured yet."""
        return {"roughness": torch.zeros(len(ids), device=self.setting.device)}

    def begin(self, view: ClientView) -> Parameters:
        """How hard each client is pulled in this round, lambda rho_k (C,)."""
        index = view.work.columns["roughness"] = self.remembered(view)["roughness"]
        return {"pull": self.pull * (index if self.index == "raw" else index / (index + self.saturation))}

    def __call__(self, step: Step) -> Tensor:
        """The loss of each client (K,), with its own pull."""
        moved = movement(step.start, step.parameters, step.base, self.space)
        return cross_entropy(step) + step.given["pull"] / 2 * inner(moved, moved)

    def end(self, view: ClientView) -> Parameters:
        """Measure where the clients stand now."""
        if (view.index - 1) % self.refresh == 0:
            slices = torch.stack([self._look(view, m) for m in range(self.directions)], 1)
            self.remembered(view)["roughness"] = roughness(slices, self.normalise)
        return {}

    def _look(self, view: ClientView, m: int) -> Tensor:
        """(C, S) losses of one fixed batch of each client along direction m, from -1 to 1."""
        batch = [own[: self.setting.batch_size] for own in view.samples]
        step, losses = direction(view, m, self.radius), []
        for t in torch.linspace(-1, 1, self.points).tolist():
            there = {name: tensor + t * step[name] if name in step else tensor for name, tensor in view.result.items()}
            losses.append(torch.stack([own.mean() for own in view.sample_losses(there, batch)]))
        return torch.stack(losses, 1)


def direction(view: ClientView, m: int, radius: float) -> Parameters:
    """Gaussian steps in every A and B, drawn for each client, zero in slots it lacks, scaled to the radius layer by layer."""
    draws = [torch_generator(view.setting.seed, "roughness", view.index, client, m) for client in view.ids]
    found: Parameters = {}
    for layer in view.layers:
        now = layer_stack(view.result, layer, view.ranks)
        A, B = (torch.stack([torch.randn(x.shape[1:], generator=g) for g in draws]).to(x) for x in (now.A, now.B))
        A, B = A * view.owned[:, :, None], B * view.owned[:, None, :]
        target = radius * view.setting.weight_norms[layer] / view.base.scales
        c = reach(now, Stack(A, B, view.ranks), target)[:, None, None]
        found |= {f"{layer}.A": c * A, f"{layer}.B": c * B}
    return found

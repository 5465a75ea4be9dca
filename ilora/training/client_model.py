"""One frozen backbone that carries the adapters and heads of K clients at once.

The clients' batches go through it as one batch, client after client. A target linear adds each client's own low-rank term by
two batched products; a head is a stack of heads. Parameters are one dict of stacks: "<layer>.A" (K, R, d_in),
"<layer>.B" (K, d_out, R), "head.<name>" (K, ...), and "<layer>.D" (K, R) where a slot has a scale of its own: B D A.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ilora.lora.factors import Stack
from ilora.training.hardware import activations

Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Base:
    """What is fixed in a round for K clients: ranks, scalings, and per layer the merged update and each client's offset."""

    ranks: tuple[int, ...]
    scales: Tensor  # (K,) s_k
    merged: Mapping[str, Tensor] = field(default_factory=dict)  # layer -> (d_out, d_in), the same for all
    offsets: Mapping[str, Stack] = field(default_factory=dict)  # layer -> products cut out of the clients' bases

    def __getitem__(self, clients: slice | Sequence[int]) -> "Base":
        """The base of some of the clients."""
        index = list(range(len(self.ranks)))[clients] if isinstance(clients, slice) else list(clients)
        offsets = {name: Stack(s.A[index], s.B[index], tuple(s.ranks[k] for k in index)) for name, s in self.offsets.items()}
        return Base(tuple(self.ranks[k] for k in index), self.scales[index], self.merged, offsets)


class Output(NamedTuple):
    """Logits (K, b, C), the features (K, b, d) that the head made them from, and the head, for features of another making."""

    logits: Tensor
    features: Tensor
    head: Callable[[Tensor], Tensor] = torch.nn.Identity()


class ClientLinear(nn.Module):
    """y_k = (W + merged) x_k + s_k B_k A_k x_k - offset_k x_k for the K clients whose rows stand one after the other."""

    A: Tensor
    B: Tensor

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen

    def carry(self, A: Tensor, B: Tensor, D: Tensor | None, scales: Tensor, merged: Tensor | None, offset: Stack | None) -> None:
        """Take the factors (K, R, d_in), (K, d_out, R), and slot scales (K, R) if there are any, for the next forward passes."""
        frozen = self.frozen.weight.detach()
        self.base = frozen if merged is None else frozen + merged
        self.A, self.B = A, B * (scales[:, None, None] if D is None else scales[:, None, None] * D[:, None, :])
        if offset is not None:
            self.A, self.B = torch.cat([self.A, offset.A], 1), torch.cat([self.B, -offset.B], 2)

    def forward(self, x: Tensor) -> Tensor:
        """x (K b, ..., d_in) -> (K b, ..., d_out)."""
        y = nn.functional.linear(x, self.base, self.frozen.bias)
        rows = x.reshape(len(self.A), -1, x.shape[-1])
        low_rank = torch.bmm(torch.bmm(rows, self.A.transpose(1, 2)), self.B.transpose(1, 2))
        return y + low_rank.view(y.shape)


class ClientHead(nn.Module):
    """K heads of one shape, each for its own client's rows."""

    parameters_of: Parameters
    seen: Tensor  # what came in last: the backbone's features

    def __init__(self, template: nn.Module) -> None:
        super().__init__()
        self.template = template

    def forward(self, x: Tensor) -> Tensor:
        """x (K b, ...) -> (K b, ...)."""
        self.seen = x
        clients = len(next(iter(self.parameters_of.values())))
        heads = torch.func.vmap(lambda own, rows: functional_call(self.template, own, (rows,)))
        y = heads(self.parameters_of, x.reshape(clients, -1, *x.shape[1:]))
        return y.flatten(0, 1)


class StackedModel:
    """A backbone whose target linears and head carry K clients; the frozen weights stay where they are."""

    def __init__(
        self, model: nn.Module, linears: Mapping[str, nn.Linear], head: Sequence[str], precision: str = "float32"
    ) -> None:
        self.model = model.requires_grad_(False).eval()
        self.precision = precision
        self.linears = {name: ClientLinear(linear) for name, linear in linears.items()}
        self.heads = {name: ClientHead(model.get_submodule(name)) for name in head}
        for name, module in {**self.linears, **self.heads}.items():
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module)

    def forward(self, parameters: Parameters, base: Base, inputs: Mapping[str, Tensor]) -> Output:
        """What K clients make of inputs (K, b, ...)."""
        for name, linear in self.linears.items():
            A, B, D = parameters[f"{name}.A"], parameters[f"{name}.B"], parameters.get(f"{name}.D")
            linear.carry(A, B, D, base.scales, base.merged.get(name), base.offsets.get(name))
        for name, head in self.heads.items():
            prefix = f"head.{name}."
            head.parameters_of = {key.removeprefix(prefix): value for key, value in parameters.items() if key.startswith(prefix)}
        flat = {name: tensor.flatten(0, 1) for name, tensor in inputs.items()}
        with activations(self.precision, base.scales.device):
            logits: Tensor = self.model(**flat).logits.float()
        K, seen = len(base.ranks), next(iter(self.heads.values())).seen
        templates = {name: module.template for name, module in self.heads.items()}
        again = partial(apply_heads, templates, parameters, tokens=seen.ndim == 3)
        return Output(logits.view(K, -1, logits.shape[-1]), features_of(seen.float(), K), again)


def apply_heads(heads: Mapping[str, nn.Module], parameters: Parameters, features: Tensor, tokens: bool) -> Tensor:
    """Logits (K, b, C) that K clients' heads make of features (K, b, d); tokens: whether a head takes sequences."""
    rows = features[:, :, None] if tokens else features
    for name, template in heads.items():
        prefix = f"head.{name}."
        own = {key.removeprefix(prefix): value for key, value in parameters.items() if key.startswith(prefix)}
        rows = torch.func.vmap(partial(_apply, template))(own, rows)
    return rows


def _apply(template: nn.Module, own: Parameters, rows: Tensor) -> Tensor:
    logits: Tensor = functional_call(template, own, (rows,))
    return logits


def features_of(seen: Tensor, clients: int) -> Tensor:
    """What a head sees as (K, b, d): of a sequence, its first token."""
    first = seen[:, 0] if seen.ndim == 3 else seen
    return first.view(clients, -1, first.shape[-1])


def layers_of(parameters: Parameters) -> list[str]:
    """The adapted layers among the parameters, in their order."""
    return [name.removesuffix(".A") for name in parameters if name.endswith(".A")]


def layer_stack(parameters: Parameters, layer: str, ranks: tuple[int, ...]) -> Stack:
    """One layer's factors as a stack, a slot's own scale multiplied into B."""
    B = parameters[f"{layer}.B"]
    if f"{layer}.D" in parameters:
        B = B * parameters[f"{layer}.D"][:, None, :]
    return Stack(parameters[f"{layer}.A"], B, ranks)


def slice_clients(parameters: Parameters, clients: slice | Sequence[int]) -> Parameters:
    """The same parameters for some of the clients."""
    return {name: tensor[clients] for name, tensor in parameters.items()}

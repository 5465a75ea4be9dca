"""The reference engine: one client after another on stock peft, nothing stacked, nothing shared but the frozen backbone.

Slow and plain on purpose: tests hold the vectorised engine against it, and the benchmark uses it as the honest baseline.
"""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.func import functional_call

from ilora.tasks.base import Data
from ilora.training.client_model import Base, Output, Parameters, apply_heads, features_of
from ilora.training.hardware import activations
from ilora.training.local_work import Forward, LocalWork, OnStep, Trained
from ilora.training.losses import sample_losses
from ilora.training.optimizers import add_after_step, adjust_gradient, cut, end_moments, make_optimizer, start_moments
from ilora.training.vectorised import GRADIENT_SAMPLES, client_norms, join_outputs

BATCH = 256  # samples that pass at once where nothing is learned


class SequentialEngine:
    """Every client trains its own peft model."""

    def __init__(
        self, model: nn.Module, layers: Sequence[str], head: Sequence[str], data: Data, precision: str = "float32"
    ) -> None:
        self.model = model.requires_grad_(False).eval()
        self.layers = tuple(layers)
        self.head = tuple(head)
        self.data = data
        self.precision = precision

    def train(self, work: LocalWork, on_step: OnStep) -> Trained:
        """Train one client after the other."""
        clients, steps = work.batches.shape[:2]
        gradients: list[Parameters] = []
        moments: tuple[list[Parameters], list[Parameters]] = ([], [])
        trained, losses = [], torch.full((clients, steps), torch.nan)
        norms, told, all_steps = torch.full_like(losses, torch.nan), 0, sum(work.own_steps)
        for k in range(clients):
            mine = work[k : k + 1]
            client, own = self.client(work.start, work.base, k)
            forward = self._forward(client, own)
            optimizer = make_optimizer(work.optimizer, list(own.values()), work.lr)
            start_moments(optimizer, own, mine, 0)
            total = {name: torch.zeros_like(tensor) for name, tensor in own.items()} if work.keep_gradients else {}
            for t in range(mine.own_steps[0]):
                optimizer.zero_grad()
                loss = work.objective(mine.step(forward, self.data, self._as_stack(own, mine.start), t))
                loss.sum().backward()
                losses[k, t] = loss.item()
                found = {name: tensor.grad for name, tensor in own.items() if tensor.grad is not None}
                norms[k, t] = client_norms({name: gradient[None] for name, gradient in found.items()})[0]
                for name in total.keys() & found.keys():
                    total[name] += found[name] / mine.own_steps[0]
                self._adjust(own, mine)
                optimizer.step()
                add_after_step(own, mine, 0)
                told += 1
                on_step(told, all_steps)
            trained.append(self._padded(own, work.start))
            gradients.append(self._padded(total, work.start))
            for kept, ended in zip(moments, end_moments(optimizer, own, work), strict=True):
                kept.append(self._padded(ended, work.start))
        return Trained(stacked(trained), losses, norms, stacked(gradients), stacked(moments[0]), stacked(moments[1]))

    def gradient(self, parameters: Parameters, base: Base, samples: Sequence[Tensor], weights: Sequence[Tensor]) -> Parameters:
        """Each client's sum_i w_i grad F_i over its own samples."""
        total = []
        for k, (index, weight) in enumerate(zip(samples, weights, strict=True)):
            client, own = self.client(parameters, base, k)
            for first in range(0, len(index), GRADIENT_SAMPLES):
                here = index[first : first + GRADIENT_SAMPLES]
                loss = sample_losses(self._logits(client, self.data.rows(here)), self.data.labels[here])
                (loss * weight[first : first + GRADIENT_SAMPLES]).sum().backward()
            gradients = {name: torch.zeros_like(t) if t.grad is None else t.grad for name, t in own.items()}
            total.append(self._padded(gradients, parameters))
        return {name: torch.stack([t[name] for t in total]) for name in parameters}

    def logits(self, parameters: Parameters, base: Base, data: Data) -> Tensor:
        """Logits (K, n, C) of every client for the same samples."""
        return self.outputs(parameters, base, data).logits

    def outputs(self, parameters: Parameters, base: Base, data: Data) -> Output:
        """Logits (K, n, C) and features (K, n, d) of every client for the same samples."""
        rows = [data.rows(slice(i, i + BATCH)) for i in range(0, len(data), BATCH)]
        return join_outputs([self._answer(parameters, base, k, rows) for k in range(len(base.ranks))], 0)

    def own_outputs(self, parameters: Parameters, base: Base, samples: Sequence[Tensor]) -> list[Output]:
        """Each client's logits (n_k, C) and features (n_k, d) for its own training samples."""
        rows = [[self.data.rows(part) for part in index.split(BATCH)] for index in samples]
        whole = [self._answer(parameters, base, k, own) for k, own in enumerate(rows)]
        return [Output(own.logits[0], own.features[0]) for own in whole]

    @torch.no_grad()
    def _answer(self, parameters: Parameters, base: Base, k: int, rows: Sequence[Mapping[str, Tensor]]) -> Output:
        """What client k makes of several slices of samples: (1, n, C) and (1, n, d)."""
        client, own = self.client(parameters, base, k)
        forward, mine = self._forward(client, own), {name: tensor[k : k + 1] for name, tensor in parameters.items()}
        return join_outputs([forward(mine, base, {name: t[None] for name, t in part.items()}) for part in rows], 1)

    def client(self, parameters: Parameters, base: Base, k: int) -> tuple[PeftModel, Parameters]:
        """Client k's own peft model on its own frozen base, and its trainable tensors under our names."""
        rank, s = base.ranks[k], float(base.scales[k])
        model = copy.deepcopy(self.model)
        for layer in self.layers:
            linear = model.get_submodule(layer)
            assert isinstance(linear, nn.Linear)
            if layer in base.merged:
                linear.weight += base.merged[layer]
            if layer in base.offsets:
                linear.weight -= base.offsets[layer][k].product()
        alpha: Any = s * rank  # peft's type hint says int; its arithmetic takes any number
        config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(self.layers), modules_to_save=list(self.head))
        client = get_peft_model(model, config).eval()
        inner: Any = client.base_model.model
        own: Parameters = {}
        for layer in self.layers:
            lora = inner.get_submodule(layer)
            own[f"{layer}.A"], own[f"{layer}.B"] = lora.lora_A["default"].weight, lora.lora_B["default"].weight
            if f"{layer}.D" in parameters:
                own[f"{layer}.D"] = scale_slots(lora.lora_B["default"], rank)
        for part in self.head:
            saved = inner.get_submodule(part).modules_to_save["default"]
            own |= {f"head.{part}.{name}": tensor for name, tensor in saved.named_parameters()}
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(cut(parameters[name][k], tensor.shape))
        return client, {name: own[name] for name in parameters}

    def _logits(self, client: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
        with activations(self.precision, self.data.labels.device):
            logits: Tensor = client(**inputs).logits.float()
        return logits

    def _forward(self, client: nn.Module, own: Parameters) -> Forward:
        """The client's forward pass under any parameters of its shape, live or not, as an objective asks for it."""
        peft_names = {id(tensor): name for name, tensor in client.named_parameters()}
        inner: Any = client
        head = inner.base_model.model.get_submodule(self.head[0])
        templates = {part: self.model.get_submodule(part) for part in self.head}

        def forward(parameters: Parameters, base: Base, inputs: Mapping[str, Tensor]) -> Output:
            seen: list[Tensor] = []
            tensors = {peft_names[id(tensor)]: cut(parameters[name][0], tensor.shape) for name, tensor in own.items()}
            hook = head.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
            with activations(self.precision, self.data.labels.device):
                logits = functional_call(client, tensors, kwargs={name: tensor[0] for name, tensor in inputs.items()}).logits
            hook.remove()
            answer = partial(apply_heads, templates, parameters, tokens=seen[0].ndim == 3)
            return Output(logits.float()[None], features_of(seen[0].float(), 1), answer)

        return forward

    def _as_stack(self, own: Parameters, like: Parameters) -> Parameters:
        """The client's live tensors as a stack of one, padded to the shapes of the stacks, gradients flowing through."""
        stacked = {}
        for name, tensor in own.items():
            missing = [full - size for full, size in zip(like[name].shape[1:], tensor.shape, strict=True)]
            stacked[name] = nn.functional.pad(tensor, [n for size in reversed(missing) for n in (0, size)])[None]
        return stacked

    def _adjust(self, own: Parameters, mine: LocalWork) -> None:
        """Correct and mask the gradients of one client, in the stack's shape, and cut them to its slots again."""
        for name, tensor in own.items():
            stacked = torch.zeros_like(mine.start[name])
            stacked.grad = torch.zeros_like(stacked)
            if tensor.grad is not None:
                cut(stacked.grad[0], tensor.shape).copy_(tensor.grad)
            adjust_gradient(stacked, name, mine)
            tensor.grad = cut(stacked.grad[0], tensor.shape).clone()

    def _padded(self, own: Parameters, like: Parameters) -> Parameters:
        """Client tensors padded to the shapes of the stacks."""
        padded = {name: torch.zeros_like(like[name][0]) for name in own}
        for name, tensor in own.items():
            cut(padded[name], tensor.shape).copy_(tensor.detach())
        return padded


def stacked(clients: Sequence[Parameters]) -> Parameters:
    """The parameters of single clients as stacks."""
    return {name: torch.stack([own[name] for own in clients]) for name in (clients[0] if clients else ())}


def scale_slots(lora_B: nn.Module, rank: int) -> Tensor:
    """Give peft's B a scale for each slot, B D A, and return D (r,)."""
    lora_B.register_parameter("slot_scale", nn.Parameter(torch.ones(rank)))
    lora_B.register_forward_pre_hook(lambda module, arguments: (arguments[0] * module.slot_scale,))
    return next(tensor for name, tensor in lora_B.named_parameters() if name == "slot_scale")

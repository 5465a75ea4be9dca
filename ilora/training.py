"""Local training of all clients of a round at once, and the two other things a backbone is asked for: gradients and logits.

One forward, one backward and one optimizer step serve every client: their parameters are stacks, their losses are summed,
so each client's gradient is its own. Clients go through in chunks that fit the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ilora.stacked import Base, Parameters, StackedModel, slice_clients
from ilora.tasks.base import Data

Objective = Callable[[Tensor, Tensor], Tensor]  # logits (K, b, C), labels (K, b) -> loss per client (K,)
OnStep = Callable[[int, int], None]  # client-steps done, of how many
EVALUATION_ROWS = 4_096  # samples that pass at once where nothing is learned


@dataclass(frozen=True)
class LocalWork:
    """What K clients do in a round: from where, on which samples, under which optimizer and correction."""

    start: Parameters
    base: Base
    batches: Tensor  # (K, T, b) sample indices
    optimizer: str
    lr: float
    objective: Objective
    correction: Parameters | None = None  # added to every gradient
    trainable: Parameters | None = None  # 1 where a number may move, else 0; None: everywhere


@dataclass(frozen=True)
class Trained:
    """The parameters after local training, and per client and step the loss and the gradient's norm, (K, T)."""

    parameters: Parameters
    losses: Tensor
    gradient_norms: Tensor


def make_optimizer(kind: str, parameters: Sequence[Tensor], lr: float) -> torch.optim.Optimizer:
    """AdamW without weight decay, or SGD with momentum 0.9; new each round, as every paper here does it."""
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=0.0)
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


class VectorisedEngine:
    """All clients through one backbone at once."""

    def __init__(self, model: StackedModel, data: Data, memory_budget: int) -> None:
        self.model = model
        self.data = data
        self.memory_budget = memory_budget  # bytes of activations that may be alive at once
        self.bytes_per_row = 0

    def train(self, work: LocalWork, on_step: OnStep) -> Trained:
        """Train every client of `work` for its T steps, as many at once as the memory holds."""
        clients, _, batch = work.batches.shape
        chunk, done, first = self._chunk(work, batch), [], 0
        while first < clients:
            piece = slice(first, min(first + chunk, clients))
            try:
                done.append(self._train_chunk(work, piece, on_step))
            except torch.OutOfMemoryError:
                if chunk == 1:
                    raise
                chunk //= 2
                self.memory_budget = chunk * batch * self.bytes_per_row
                continue
            first = piece.stop
        parameters = {name: torch.cat([part.parameters[name] for part in done]) for name in work.start}
        return Trained(parameters, torch.cat([part.losses for part in done]), torch.cat([part.gradient_norms for part in done]))

    def _train_chunk(self, work: LocalWork, piece: slice, on_step: OnStep) -> Trained:
        clients, steps = work.batches.shape[:2]
        parameters = {name: tensor[piece].clone().requires_grad_() for name, tensor in work.start.items()}
        base, batches = work.base[piece], work.batches[piece]
        optimizer = make_optimizer(work.optimizer, list(parameters.values()), work.lr)
        losses = batches.new_zeros(batches.shape[:2], dtype=torch.float32)
        norms = torch.zeros_like(losses)
        for step in range(steps):
            optimizer.zero_grad()
            inputs, labels = gather(self.data, batches[:, step])
            loss = work.objective(self.model.logits(parameters, base, inputs), labels)
            loss.sum().backward()
            losses[:, step] = loss.detach()
            norms[:, step] = client_norms({name: tensor.grad for name, tensor in parameters.items() if tensor.grad is not None})
            for name, tensor in parameters.items():
                adjust_gradient(tensor, name, work, piece)
            optimizer.step()
            on_step(piece.start * steps + (step + 1) * len(batches), clients * steps)
        return Trained({name: tensor.detach() for name, tensor in parameters.items()}, losses, norms)

    def gradient(self, parameters: Parameters, base: Base, samples: Sequence[Tensor], weights: Sequence[Tensor]) -> Parameters:
        """Each client's sum_i w_i grad CE_i over its own samples: lists of K index and weight tensors, (n_k,) each.

        Clients are taken from the largest to the smallest, so that a slice of samples meets only those that have so many.
        """
        order = sorted(range(len(samples)), key=lambda k: -len(samples[k]))
        rows = max(1, EVALUATION_ROWS // 8)
        total = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
        for first in range(0, len(samples[order[0]]), 32):
            active = [k for k in order if len(samples[k]) > first]
            for group in (active[i : i + rows // 32] for i in range(0, len(active), rows // 32)):
                part = {name: tensor[group].requires_grad_() for name, tensor in parameters.items()}
                index, weight = pad_rows([(samples[k][first : first + 32], weights[k][first : first + 32]) for k in group])
                inputs, labels = gather(self.data, index)
                logits = self.model.logits(part, base[group], inputs)
                loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
                (loss * weight.flatten()).sum().backward()
                for name, tensor in part.items():
                    if tensor.grad is not None:
                        total[name].index_add_(0, torch.tensor(group, device=tensor.device), tensor.grad)
        return total

    @torch.no_grad()
    def logits(self, parameters: Parameters, base: Base, data: Data) -> Tensor:
        """Logits (K, n, C) of every client for the same n samples."""
        clients = len(base.ranks)
        result = []
        for first in range(0, clients, 32):
            group = slice(first, min(first + 32, clients))
            own, own_base = slice_clients(parameters, group), base[group]
            k = len(own_base.ranks)
            rows = max(1, EVALUATION_ROWS // k)
            parts = [
                self.model.logits(
                    own, own_base, {name: t[i : i + rows].expand(k, *t[i : i + rows].shape) for name, t in data.inputs.items()}
                )
                for i in range(0, len(data), rows)
            ]
            result.append(torch.cat(parts, 1))
        return torch.cat(result)

    def _chunk(self, work: LocalWork, batch: int) -> int:
        """How many clients fit the memory budget, from the bytes that one client's step keeps for its backward pass."""
        if not self.bytes_per_row:
            self.bytes_per_row = self._measure(work)
        return max(1, int(self.memory_budget // max(1, self.bytes_per_row * batch)))

    def _measure(self, work: LocalWork) -> int:
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        one = {name: tensor[:1].clone().requires_grad_() for name, tensor in work.start.items()}
        inputs, labels = gather(self.data, work.batches[:1, :1].reshape(1, -1)[:, :1])
        with saved_tensors_hooks(note, lambda tensor: tensor):
            loss = work.objective(self.model.logits(one, work.base[:1], inputs), labels)
        del loss
        frozen = {p.untyped_storage().data_ptr() for p in self.model.model.parameters()}
        return sum(size for pointer, size in saved.items() if pointer not in frozen)


def adjust_gradient(tensor: Tensor, name: str, work: LocalWork, clients: slice) -> None:
    """Add the correction and keep still what may not move."""
    if tensor.grad is None:
        tensor.grad = torch.zeros_like(tensor)
    if work.correction is not None:
        tensor.grad += work.correction[name][clients]
    if work.trainable is not None and name in work.trainable:
        tensor.grad *= work.trainable[name][clients]


def gather(data: Data, index: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The samples (K, b, ...) and labels (K, b) at `index` (K, b)."""
    return {name: tensor[index] for name, tensor in data.inputs.items()}, data.labels[index]


def pad_rows(rows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Indices and weights of unequal length as (K, m), padded with sample 0 at weight 0."""
    pad = torch.nn.utils.rnn.pad_sequence
    return pad([index for index, _ in rows], batch_first=True), pad([weight for _, weight in rows], batch_first=True)


def client_norms(tensors: Parameters) -> Tensor:
    """(K,) norm over all numbers of each client."""
    return torch.stack([tensor.flatten(1).square().sum(1) for tensor in tensors.values()]).sum(0).sqrt()


def correction_ratio(correction: Parameters | None, trained: Trained) -> Tensor:
    """(K,) size of the correction against the mean gradient of the local steps; 0 where there is none."""
    gradient = trained.gradient_norms.mean(1) if trained.gradient_norms.shape[1] else torch.ones(len(trained.gradient_norms))
    return torch.zeros_like(gradient) if correction is None else client_norms(correction) / gradient.clamp_min(1e-12)

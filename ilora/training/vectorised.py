"""Local training of all clients of a round at once, and the two other things a backbone is asked for: gradients and logits.

One forward, one backward and one optimizer step serve every client: their parameters are stacks, their losses are summed,
so each client's gradient is its own. Clients go through in chunks that fit the memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from typing import TypeVar

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from ilora.tasks.base import Data
from ilora.training.client_model import Base, Output, Parameters, StackedModel, slice_clients
from ilora.training.local_work import LocalWork, OnStep, Trained
from ilora.training.losses import sample_losses
from ilora.training.optimizers import add_after_step, adjust_gradient, end_moments, fewer_clients, make_optimizer, start_moments

EVALUATION_ROWS = 1_024  # samples that pass at once where nothing is learned; more fall out of a CPU's cache
GRADIENT_CLIENTS = 16  # clients, and samples of each, that pass at once where only a gradient is asked for
GRADIENT_SAMPLES = 32
STACKS = ("parameters", "gradients", "first_moments", "second_moments")  # of a Trained

Whole = TypeVar("Whole")


class VectorisedEngine:
    """All clients through one backbone at once."""

    def __init__(self, model: StackedModel, data: Data, memory_budget: int) -> None:
        self.model = model
        self.data = data
        self.memory_budget = memory_budget  # bytes of activations that may be alive at once
        self.bytes_per_row = 0

    def train(self, work: LocalWork, on_step: OnStep) -> Trained:
        """Train every client of `work` for its T steps, as many at once as the memory holds."""
        order = sorted(range(len(work.batches)), key=lambda k: -work.own_steps[k])
        if order != list(range(len(order))):
            return picked(self.train(work[order], on_step), [order.index(k) for k in range(len(order))])
        clients, _, batch = work.batches.shape
        chunk, done, first, told = self._chunk(work, batch), [], 0, 0
        while first < clients:
            piece = work[first : first + chunk]
            tell = partial(_tell_all, on_step, told, sum(work.own_steps))
            try:
                done.append(self._train_chunk(piece, tell))
            except torch.OutOfMemoryError:
                if chunk == 1:
                    raise
                chunk //= 2
                self.memory_budget = chunk * batch * self.bytes_per_row
                continue
            first, told = first + len(piece.batches), told + sum(piece.own_steps)
        return together(done)

    def _train_chunk(self, work: LocalWork, on_step: Callable[[int], None]) -> Trained:
        """Train clients that are sorted from the most steps to the fewest; one that has taken all of its steps stays as it is."""
        steps = work.own_steps
        own_steps = torch.tensor(steps, device=work.batches.device)
        ended: tuple[Parameters, ...] = ({}, {}, {})  # parameters, m and v of every client after its last step
        parameters = {name: tensor.clone().requires_grad_() for name, tensor in work.start.items()}
        optimizer = make_optimizer(work.optimizer, list(parameters.values()), work.lr)
        start_moments(optimizer, parameters, work, slice(None))
        gradients = {name: torch.zeros_like(tensor) for name, tensor in work.start.items()} if work.keep_gradients else {}
        losses = torch.full(work.batches.shape[:2], torch.nan, device=work.batches.device)
        norms = torch.full_like(losses, torch.nan)
        for t in range(max(steps)):
            active = sum(own > t for own in steps)
            if active < len(work.batches):
                keep(ended, parameters, optimizer, work)
                work = work[:active]
                parameters, optimizer = fewer_clients(optimizer, parameters, work)
            optimizer.zero_grad()
            loss = work.objective(work.step(self.model.forward, self.data, parameters, t))
            loss.sum().backward()
            losses[:active, t] = loss.detach()
            found = {name: tensor.grad for name, tensor in parameters.items() if tensor.grad is not None}
            norms[:active, t] = client_norms(found)
            for name in gradients.keys() & found.keys():
                gradients[name][:active] += found[name] / own_steps[:active].view(-1, *[1] * (found[name].ndim - 1))
            for name, tensor in parameters.items():
                adjust_gradient(tensor, name, work)
            optimizer.step()
            add_after_step(parameters, work, slice(None))
            on_step(sum(min(own, t + 1) for own in steps))
        keep(ended, parameters, optimizer, work)
        return Trained(ended[0], losses, norms, gradients, ended[1], ended[2])

    def gradient(self, parameters: Parameters, base: Base, samples: Sequence[Tensor], weights: Sequence[Tensor]) -> Parameters:
        """Each client's sum_i w_i grad F_i over its own samples: lists of K index and weight tensors, (n_k,) each."""
        return fitted(partial(self._gradient, parameters, base, samples, weights), GRADIENT_CLIENTS * GRADIENT_SAMPLES)

    def _gradient(
        self, parameters: Parameters, base: Base, samples: Sequence[Tensor], weights: Sequence[Tensor], rows: int
    ) -> Parameters:
        """The gradient from `rows` samples at once.

        Clients are taken from the largest to the smallest, so that a slice of samples meets only those that have so many.
        """
        most, each = min(GRADIENT_CLIENTS, rows), max(1, rows // GRADIENT_CLIENTS)
        order = sorted(range(len(samples)), key=lambda k: -len(samples[k]))
        total = {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
        for first in range(0, len(samples[order[0]]), each):
            here = slice(first, first + each)
            active = [k for k in order if len(samples[k]) > first]
            for group in (active[i : i + most] for i in range(0, len(active), most)):
                part = {name: tensor[group].requires_grad_() for name, tensor in parameters.items()}
                index, weight = pad_rows([(samples[k][here], weights[k][here]) for k in group])
                logits = self.model.forward(part, base[group], self.data.rows(index)).logits
                (sample_losses(logits, self.data.labels[index]) * weight).sum().backward()
                for name, tensor in part.items():
                    if tensor.grad is not None:
                        total[name].index_add_(0, torch.tensor(group, device=tensor.device), tensor.grad)
        return total

    def logits(self, parameters: Parameters, base: Base, data: Data) -> Tensor:
        """Logits (K, n, C) of every client for the same n samples."""
        return self.outputs(parameters, base, data).logits

    @torch.no_grad()
    def outputs(self, parameters: Parameters, base: Base, data: Data) -> Output:
        """Logits (K, n, C) and features (K, n, d) of every client for the same n samples."""
        return fitted(partial(self._outputs, parameters, base, data), self._most_rows())

    def _outputs(self, parameters: Parameters, base: Base, data: Data, most: int) -> Output:
        clients = len(base.ranks)
        result = []
        for first in range(0, clients, 32):
            group = slice(first, min(first + 32, clients))
            own, own_base = slice_clients(parameters, group), base[group]
            k = len(own_base.ranks)
            rows = max(1, most // k)
            order = data.alike(rows)
            slices = (data.rows(index) for index in order)
            seen = ({name: t.expand(k, *t.shape) for name, t in part.items()} for part in slices)
            found = join_outputs([self.model.forward(own, own_base, inputs) for inputs in seen], 1)
            back = torch.cat(order).argsort()
            result.append(Output(found.logits[:, back], found.features[:, back]))
        return join_outputs(result, 0)

    @torch.no_grad()
    def own_outputs(self, parameters: Parameters, base: Base, samples: Sequence[Tensor]) -> list[Output]:
        """Each client's logits (n_k, C) and features (n_k, d) for its own training samples."""
        return fitted(partial(self._own_outputs, parameters, base, samples), self._most_rows())

    def _own_outputs(self, parameters: Parameters, base: Base, samples: Sequence[Tensor], most: int) -> list[Output]:
        index = torch.nn.utils.rnn.pad_sequence(list(samples), batch_first=True)
        rows = max(1, most // len(samples))
        parts = [self.model.forward(parameters, base, self.data.rows(part)) for part in index.split(rows, 1)]
        whole = join_outputs(parts, 1)
        counts = [len(sample) for sample in samples]
        return [Output(whole.logits[k, :count], whole.features[k, :count]) for k, count in enumerate(counts)]

    def _most_rows(self) -> int:
        """How many samples may pass at once where nothing is learned: fewer through a large backbone, once it was measured."""
        return min(EVALUATION_ROWS, self.memory_budget // self.bytes_per_row) if self.bytes_per_row else EVALUATION_ROWS

    def _chunk(self, work: LocalWork, batch: int) -> int:
        """How many clients fit the memory budget, from the bytes that one client's step keeps for its backward pass."""
        if not self.bytes_per_row and work.batches.shape[1]:
            self.bytes_per_row = self._measure(work)
        return max(1, min(len(work.batches), int(self.memory_budget // max(1, self.bytes_per_row * batch))))

    def _measure(self, work: LocalWork) -> int:
        saved: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        one = work[:1]
        parameters = {name: tensor.clone().requires_grad_() for name, tensor in one.start.items()}
        with saved_tensors_hooks(note, lambda tensor: tensor):
            loss = work.objective(one.step(self.model.forward, self.data, parameters, slice(1)))
        del loss
        frozen = {p.untyped_storage().data_ptr() for p in self.model.model.parameters()}
        rows = max(1, one.batches.shape[2])
        return ceil(sum(size for pointer, size in saved.items() if pointer not in frozen) / rows)


def fitted(compute: Callable[[int], Whole], rows: int) -> Whole:
    """What `compute(rows)` gives, with half as many rows at once each time that the memory did not hold them."""
    while True:
        try:
            return compute(rows)
        except torch.OutOfMemoryError:
            if rows == 1:
                raise
        rows //= 2


def keep(ended: tuple[Parameters, ...], parameters: Parameters, optimizer: torch.optim.Optimizer, work: LocalWork) -> None:
    """Note where the first clients stand, and AdamW's m and v where they are asked for; at first these are all clients."""
    for stacks, now in zip(ended, (parameters, *end_moments(optimizer, parameters, work)), strict=True):
        for name, tensor in now.items():
            stacks.setdefault(name, tensor.detach().clone())[: len(tensor)] = tensor.detach()


def together(parts: Sequence[Trained]) -> Trained:
    """What several groups of clients trained as one outcome, group after group."""
    losses, norms = (torch.cat([getattr(part, name) for part in parts]) for name in ("losses", "gradient_norms"))
    stacks = {name: joined([getattr(part, name) for part in parts]) for name in STACKS}
    return Trained(losses=losses, gradient_norms=norms, **stacks)


def picked(trained: Trained, clients: list[int]) -> Trained:
    """The same outcome with its clients in another order."""
    stacks = {name: slice_clients(getattr(trained, name), clients) for name in STACKS}
    return replace(trained, losses=trained.losses[clients], gradient_norms=trained.gradient_norms[clients], **stacks)


def join_outputs(parts: Sequence[Output], dim: int) -> Output:
    """The answers to several slices of the samples, or of several groups of clients, as one."""
    return Output(torch.cat([part.logits for part in parts], dim), torch.cat([part.features for part in parts], dim))


def joined(parts: Sequence[Parameters]) -> Parameters:
    """The parameters of several chunks of clients as one."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _tell_all(on_step: OnStep, before: int, of: int, done: int) -> None:
    on_step(before + done, of)


def pad_rows(rows: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Indices and weights of unequal length as (K, m), padded with sample 0 at weight 0."""
    pad = torch.nn.utils.rnn.pad_sequence
    return pad([index for index, _ in rows], batch_first=True), pad([weight for _, weight in rows], batch_first=True)


def client_norms(tensors: Parameters) -> Tensor:
    """(K,) norm over all numbers of each client."""
    return torch.stack([tensor.flatten(1).square().sum(1) for tensor in tensors.values()]).sum(0).sqrt()


def correction_ratio(correction: Parameters | None, trained: Trained) -> Tensor:
    """(K,) size of the correction against the mean gradient of the local steps; 0 where there is none."""
    gradient = trained.gradient_norms.nanmean(1) if trained.gradient_norms.shape[1] else torch.ones(len(trained.gradient_norms))
    return torch.zeros_like(gradient) if correction is None else client_norms(correction) / gradient.clamp_min(1e-12)

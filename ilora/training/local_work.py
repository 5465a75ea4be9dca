"""What local training is given and gives back: the work of K clients, one step of it, and what came out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from ilora.tasks.base import Data
from ilora.training.client_model import Base, Output, Parameters, slice_clients

Forward = Callable[[Parameters, Base, Mapping[str, Tensor]], Output]
OnStep = Callable[[int, int], None]  # client-steps done, of how many


@dataclass(frozen=True)
class Step:
    """One local step of K clients as an objective sees it."""

    output: Output
    labels: Tensor  # (K, b)
    index: Tensor  # (K, b) sample indices
    inputs: dict[str, Tensor]  # (K, b, ...)
    parameters: Parameters  # as they are now
    start: Parameters  # as they were received
    given: Parameters  # what the objective's `begin` prepared
    base: Base
    forward: Forward  # for further passes

    @property
    def logits(self) -> Tensor:
        """(K, b, C)."""
        return self.output.logits


Objective = Callable[[Step], Tensor]  # -> loss per client (K,)


@dataclass(frozen=True)
class LocalWork:
    """What K clients do in a round: from where, on which samples, under which optimizer and correction."""

    start: Parameters
    base: Base
    batches: Tensor  # (K, T, b) sample indices
    optimizer: str
    lr: float
    objective: Objective
    given: Parameters = field(default_factory=dict)
    correction: Parameters | None = None  # added to every gradient
    trainable: Parameters | None = None  # 1 where a number may move, else 0; None: everywhere
    after_step: Parameters | None = None  # added to the parameters after every optimizer step
    first_moments: Parameters | None = None  # what AdamW's m starts from; None: zero
    second_moments: Parameters | None = None  # what AdamW's v starts from; None: zero
    steps_before: int = 0  # steps that AdamW counts as done when it starts from moments
    keep_gradients: bool = False  # whether the mean gradient of the steps is asked for
    steps: tuple[int, ...] = ()  # how many of the T steps each client takes; empty: all of them
    draws: Tensor | None = None  # (K, T, b, AUGMENT_DRAWS) in 0..1: how each sample is augmented; None: not at all

    @property
    def own_steps(self) -> tuple[int, ...]:
        """How many steps each client takes."""
        return self.steps or (self.batches.shape[1],) * len(self.batches)

    def __getitem__(self, clients: slice | list[int]) -> "LocalWork":
        """The work of some of the clients."""
        stacks = ("start", "given", "correction", "trainable", "after_step", "first_moments", "second_moments")
        there: dict[str, Parameters] = {name: own for name in stacks if (own := getattr(self, name)) is not None}
        mine: dict[str, Any] = {name: slice_clients(own, clients) for name, own in there.items()}
        draws = None if self.draws is None else self.draws[clients]
        chosen = range(len(self.steps))[clients] if isinstance(clients, slice) else clients
        steps = tuple(self.steps[k] for k in chosen) if self.steps else ()
        return replace(self, base=self.base[clients], batches=self.batches[clients], steps=steps, draws=draws, **mine)

    def part(self, steps: slice) -> "LocalWork":
        """Some of the steps."""
        own = tuple(len(range(count)[steps]) for count in self.steps)
        draws = None if self.draws is None else self.draws[:, steps]
        return replace(self, batches=self.batches[:, steps], steps=own, draws=draws)

    def step(self, forward: Forward, data: Data, parameters: Parameters, t: int | slice) -> Step:
        """The forward pass of these clients' step `t`; a slice takes the samples of several steps at once."""
        index = self.batches[:, t].flatten(1)
        draws = None if self.draws is None else self.draws[:, t].flatten(1, -2)
        inputs = data.rows(index, draws)
        output = forward(parameters, self.base, inputs)
        return Step(output, data.labels[index], index, inputs, parameters, self.start, self.given, self.base, forward)


@dataclass(frozen=True)
class Trained:
    """The parameters after local training, and per client and step the loss and the gradient's norm, (K, T).

    Both are NaN after a client's last step.
    """

    parameters: Parameters
    losses: Tensor
    gradient_norms: Tensor
    gradients: Parameters = field(default_factory=dict)  # the mean over the steps, uncorrected, where asked for
    first_moments: Parameters = field(default_factory=dict)  # AdamW's m and v at the end, where it started from a v
    second_moments: Parameters = field(default_factory=dict)


Train = Callable[[LocalWork], Trained]

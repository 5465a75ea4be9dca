"""A turn: one round in the making, and all that an ingredient may look at and leave behind in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from ilora.clients.sampling import gradient_weights
from ilora.lora import low_rank
from ilora.lora.factors import Factors, Stack, slot_mask
from ilora.lora.scaling import Scaling
from ilora.randomness import torch_generator
from ilora.training.client_model import Base, Output, Parameters, layer_stack
from ilora.training.local_work import Trained
from ilora.training.losses import sample_losses

if TYPE_CHECKING:
    from ilora.training.engine import Engine

BYTES_PER_FLOAT = 4
Slots = Tensor | Mapping[str, Tensor]  # (C, R) booleans, for all layers or for each


def slots_of(slots: Slots, layer: str) -> Tensor:
    """The slots that are meant in one layer, (C, R)."""
    return slots if isinstance(slots, Tensor) else slots[layer]


@dataclass(frozen=True)
class RunSetting:
    """What is fixed for a whole run: what an ingredient that keeps state is made from."""

    seed: int
    ranks: tuple[int, ...]  # of all N clients, at the start
    samples: tuple[int, ...]  # how many each client holds
    scaling: Scaling
    shapes: Mapping[str, tuple[int, int]]  # layer -> (d_out, d_in)
    local_steps: int  # of each client in a round; where these differ, the most
    batch_size: int
    device: str
    weight_norms: Mapping[str, float] = field(default_factory=dict)  # layer -> ||theta_0||_F
    classes: int = 0

    @property
    def clients(self) -> int:
        """N, all clients."""
        return len(self.ranks)

    @property
    def rank(self) -> int:
        """R, the server's rank: the largest of all clients."""
        return max(self.ranks)


@dataclass
class Turn:
    """One round: who takes part, what they received, and, once they have trained, what came out.

    Parameters are stacks over the round's C clients: "<layer>.A" (C, R, d_in), "<layer>.B" (C, d_out, R), "head.<name>"
    (C, ...), and "<layer>.D" (C, R) where a method scales its slots.
    """

    index: int  # 1 is the first round
    setting: RunSetting
    ids: list[int]
    ranks: tuple[int, ...]  # of the round's clients: how many slots they hold
    samples: list[Tensor]  # each one's sample indices
    start: Parameters  # what they received
    base: Base
    engine: "Engine"
    server: Callable[[], tuple[Parameters, Base]]  # the server's own model, as a client of rank R
    budgets: tuple[int, ...] = ()  # how many slots they may train and send: their ranks, unless everyone holds all slots
    shared: "Shared | None" = None  # what is trained and sent; an upload that sends less says so here
    trained: Trained | None = None
    next_ranks: dict[int, int] = field(default_factory=dict)  # ranks that clients take from the next round on
    forwards: int = 0  # samples that went through the model so far, evaluation left out
    columns: dict[str, Tensor] = field(default_factory=dict)  # name -> (C,): what ingredients leave in the round's record
    scores: dict[str, float] = field(default_factory=dict)  # further numbers for the record, see Round.scores
    pictures: dict[str, Tensor] = field(default_factory=dict)  # further arrays for the record, see Round.pictures
    shared_ranks: tuple[int, ...] = ()  # how many of its first slots the server ever sees of each client; (): all
    floats_up: int = 0  # numbers that all clients together send beside factors and heads
    floats_down: int = 0

    @property
    def layers(self) -> tuple[str, ...]:
        """The adapted layers in model order."""
        return tuple(self.setting.shapes)

    @property
    def owned(self) -> Tensor:
        """(C, R) booleans: the slots that each client has."""
        return slot_mask(self.ranks, self.setting.rank).to(self.setting.device)

    @property
    def budget(self) -> Tensor:
        """(C,) how many slots each client may train and send."""
        return torch.tensor(self.budgets, device=self.setting.device)

    @property
    def counts(self) -> Tensor:
        """(C,) n_k."""
        return torch.tensor([float(len(own)) for own in self.samples], device=self.setting.device)

    @property
    def result(self) -> Parameters:
        """The clients' parameters after local training."""
        if self.trained is None:
            raise RuntimeError("The round's clients have not trained yet.")
        return self.trained.parameters

    @property
    def losses(self) -> Tensor:
        """(C, T) the clients' losses, step by step."""
        if self.trained is None:
            raise RuntimeError("The round's clients have not trained yet.")
        return self.trained.losses

    def stack(self, parameters: Parameters, layer: str) -> Stack:
        """One layer's factors as a stack, a slot's own scale multiplied into B; without what never leaves the clients."""
        whole = layer_stack(parameters, layer, self.ranks)
        return whole.cut(self.shared_ranks) if self.shared_ranks else whole

    @property
    def sharing(self) -> "Shared":
        """What is trained and what is sent."""
        if self.shared is None:
            raise RuntimeError("The round's clients do not know yet what they share.")
        return self.shared

    def spread(self, A: Slots, B: Slots, rest: float = 1.0, D: Slots | None = None) -> Parameters:
        """Slots over the shapes of the parameters: rows of A, columns of B, scales (as A if not said), `rest` elsewhere."""
        masks = {}
        for name, tensor in self.start.items():
            layer, _, factor = name.rpartition(".")
            if layer not in self.setting.shapes:
                masks[name] = torch.full_like(tensor, rest)
            elif factor == "A":
                masks[name] = slots_of(A, layer)[:, :, None].to(tensor)
            elif factor == "B":
                masks[name] = slots_of(B, layer)[:, None, :].to(tensor)
            else:
                masks[name] = slots_of(A if D is None else D, layer).to(tensor)
        return masks

    def gradient(self, scale: str = "scaffold", most: int = 0) -> Parameters:
        """Each client's gradient at the model it received, over its n_k samples or, drawn anew each round, `most` of them.

        "scaffold": their mean; "official": the sum of its batch means over n_k, about a batch size smaller.
        """
        samples = self.some_samples(most) if most else self.samples
        self.forwards += sum(map(len, samples))
        weights = [gradient_weights(len(own), self.setting.batch_size, scale).to(own.device) for own in samples]
        return self.engine.gradient(self.start, self.base, samples, weights)

    def some_samples(self, most: int) -> list[Tensor]:
        """Each client's samples, at most so many, drawn without replacement by the seed, the round and the client."""
        drawn = []
        for k, own in zip(self.ids, self.samples, strict=True):
            order = torch.randperm(len(own), generator=torch_generator(self.setting.seed, "gradient", self.index, k))
            drawn.append(own[order[:most].sort().values.to(own.device)])
        return drawn

    def logits(self, parameters: Parameters, samples: Sequence[Tensor]) -> list[Tensor]:
        """Each client's logits (n, classes) for its own list of samples, nothing learned; the passes are counted."""
        self.forwards += sum(map(len, samples))
        return self.engine.own_logits(parameters, self.base, samples)

    def sample_losses(self, parameters: Parameters, samples: Sequence[Tensor]) -> list[Tensor]:
        """Each client's loss (n,) of its own list of samples, nothing learned."""
        labels = [self.engine.data.labels[index] for index in samples]
        return [sample_losses(logits, own) for logits, own in zip(self.logits(parameters, samples), labels, strict=True)]

    def outputs(self, parameters: Parameters, samples: Sequence[Tensor]) -> list[Output]:
        """As `logits`, with the features that the head made them from, (n, d)."""
        self.forwards += sum(map(len, samples))
        return self.engine.own_outputs(parameters, self.base, samples)

    @cached_property
    def local_logits(self) -> list[Tensor]:
        """Each client's logits (n_k, classes) for all its samples at the model it received; one pass, whoever asks."""
        return self.logits(self.start, self.samples)

    @cached_property
    def before(self) -> tuple[Parameters, Base]:
        """The server's own model before this round, as a client of rank R."""
        return self.server()

    def server_update(self, layer: str) -> Factors:
        """The update that the server's factors held before this round: s B A of all slots, less what is cut out of the base."""
        parameters, base = self.before
        factors = layer_stack(parameters, layer, base.ranks)
        own = Factors(factors.A[0], factors.B[0]).times(float(base.scales[0]))
        return own if layer not in base.offsets else low_rank.difference(own, base.offsets[layer][0])


class Shared(NamedTuple):
    """Slots of each factor that are trained, and that are sent; (C, R) booleans for all layers, or for each layer by name."""

    train_A: Slots
    train_B: Slots
    send_A: Slots
    send_B: Slots
    head: bool = True  # whether the head is sent
    scales: Slots | None = None  # slots whose own scale D is trained and sent; None: no scale is
    receive: Slots | None = None  # slots that a client needs from the server; None: all that it holds
    chosen: bool = False  # whether a client must say which of its slots it sends, a bit each


class Traffic(NamedTuple):
    """Numbers sent by, and to, all clients of a round together, and their bytes."""

    floats_up: int
    floats_down: int
    bytes_up: int
    bytes_down: int

"""Who sees what of a round: the client half of a stage a `ClientView`, the server half a `ServerView`, the observer both.

Parameters are stacks over the C clients at hand: "<layer>.A" (C, R, d_in), "<layer>.B" (C, d_out, R), "head.<name>" (C, ...),
and "<layer>.D" (C, R) where a method scales its slots. The same code runs with all clients of a round stacked, or with one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from ilora.clients.sampling import gradient_weights
from ilora.lora import low_rank
from ilora.lora.factors import Factors, Stack, slot_mask
from ilora.lora.scaling import Scaling
from ilora.randomness import torch_generator
from ilora.tasks.base import Data
from ilora.training.client_model import Base, Output, Parameters, layer_stack, slice_clients
from ilora.training.engine import Engine
from ilora.training.local_work import Trained
from ilora.training.losses import sample_losses

Slots = Tensor | Mapping[str, Tensor]  # (C, R) booleans, for all layers or for each
Memory = dict[str, Parameters]  # stage -> what its client half remembers, stacks over the clients at hand


def slots_of(slots: Slots, layer: str) -> Tensor:
    """The slots that are meant in one layer, (C, R)."""
    return slots if isinstance(slots, Tensor) else slots[layer]


@dataclass(frozen=True)
class RunSetting:
    """What is fixed for a whole run and known to everyone: what a stage that keeps state is made from."""

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
    optimizer: str = "adamw"
    lr: float = 0.0
    local_epochs: int | None = None  # instead of local_steps
    precision: str = "float32"

    @property
    def clients(self) -> int:
        """N, all clients."""
        return len(self.ranks)

    @property
    def rank(self) -> int:
        """R, the server's rank: the largest of all clients."""
        return max(self.ranks)


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
    ranks: tuple[int, ...] = ()  # how many of its first slots the server ever sees of each client; (): all
    kept: tuple[int, ...] = ()  # the ranks that clients are left with from the next round on, where they give slots up


NOTHING_YET = Shared({}, {}, {}, {})  # before the clients have said what they send


@dataclass(frozen=True)
class Broadcast:
    """What the server sends to the C clients of a round."""

    index: int  # the round; 1 is the first
    ids: tuple[int, ...]
    ranks: tuple[int, ...]  # how many slots each client holds
    budgets: tuple[int, ...]  # how many it may train and send: its rank, unless everyone holds all slots
    parameters: Parameters
    base: Base
    extra: Memory = field(default_factory=dict)  # stage -> what its server half adds; stacks over the clients


@dataclass(frozen=True)
class ClientModels:
    """The models of C clients as they were trained: what a client answers with."""

    setting: RunSetting
    ranks: tuple[int, ...]
    parameters: Parameters
    base: Base
    shared: Shared
    engine: Engine

    def logits(self, clients: Sequence[int], data: Data) -> Tensor:
        """Logits (c, n, classes) of some of the clients for the same samples."""
        return self.engine.logits(slice_clients(self.parameters, clients), self.base[clients], data)


@dataclass(frozen=True)
class View:
    """What both sides know of a round's C clients."""

    setting: RunSetting
    index: int
    ids: tuple[int, ...]
    ranks: tuple[int, ...]
    budgets: tuple[int, ...]

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

    def spread(self, parameters: Parameters, A: Slots, B: Slots, rest: float = 1.0, D: Slots | None = None) -> Parameters:
        """Slots over the shapes of parameters: rows of A, columns of B, scales (as A if not said), `rest` elsewhere."""
        masks = {}
        for name, tensor in parameters.items():
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


@dataclass
class ClientWork:
    """What changes while the clients of a round work."""

    start: Parameters  # what they received, with what they keep to themselves put over it
    base: Base
    shared: Shared | None = None  # what is trained and sent; an upload that sends less says so here
    trained: Trained | None = None
    sent: Parameters = field(default_factory=dict)  # what the upload made of the outcome
    forwards: int = 0  # samples that went through the model so far, evaluation left out
    report: Memory = field(default_factory=dict)  # stage -> what its server half will read
    columns: Parameters = field(default_factory=dict)  # name -> (C, ...): for the record only
    notes: dict[str, list[Tensor]] = field(default_factory=dict)  # one tensor per client: for the observer only


@dataclass(frozen=True)
class ClientView(View):
    """What the client half of a stage sees: C clients' own samples and labels, their memory, and what they received."""

    samples: list[Tensor]  # each one's sample indices
    engine: Engine
    received: Memory  # stage -> what its server half added to the broadcast
    memory: Memory  # stage -> what the clients remember; moves on in place
    work: ClientWork

    @property
    def start(self) -> Parameters:
        """What the clients received, with what they keep to themselves put over it."""
        return self.work.start

    @property
    def base(self) -> Base:
        """What lies beneath the factors."""
        return self.work.base

    @property
    def shared(self) -> Shared:
        """What is trained and what is sent."""
        if self.work.shared is None:
            raise RuntimeError("The round's clients do not know yet what they share.")
        return self.work.shared

    @property
    def trained(self) -> Trained:
        """What came out of local training."""
        if self.work.trained is None:
            raise RuntimeError("The round's clients have not trained yet.")
        return self.work.trained

    @property
    def result(self) -> Parameters:
        """The clients' parameters after local training."""
        return self.trained.parameters

    def stack(self, parameters: Parameters, layer: str) -> Stack:
        """One layer's factors as a stack, a slot's own scale multiplied into B."""
        return layer_stack(parameters, layer, self.ranks)

    def sent_scales(self, name: str) -> Tensor:
        """(C, R) booleans: the slots whose own scale, the parameter `name`, is sent."""
        scales = self.shared.scales
        return self.owned & False if scales is None or name not in self.work.sent else slots_of(scales, name.removesuffix(".D"))

    def labels(self, samples: Tensor) -> Tensor:
        """The labels of own samples at these indices (any shape)."""
        return self.engine.data.labels[samples]

    def gradient(self, scale: str = "scaffold", most: int = 0) -> Parameters:
        """Each client's gradient at the model it received, over its n_k samples or, drawn anew each round, `most` of them.

        "scaffold": their mean; "official": the sum of its batch means over n_k, about a batch size smaller.
        """
        samples = self.some_samples(most) if most else self.samples
        self.work.forwards += sum(map(len, samples))
        weights = [gradient_weights(len(own), self.setting.batch_size, scale).to(own.device) for own in samples]
        return self.engine.gradient(self.start, self.base, samples, weights)

    def some_samples(self, most: int) -> list[Tensor]:
        """Each client's samples, at most so many, drawn without replacement by the seed, the round and the client."""
        drawn = []
        for k, own in zip(self.ids, self.samples, strict=True):
            order = torch.randperm(len(own), generator=torch_generator(self.setting.seed, "gradient", self.index, k))
            drawn.append(own[order[:most].sort().values.to(own.device)])
        return drawn

    def outputs(self, parameters: Parameters, samples: Sequence[Tensor], base: Base | None = None) -> list[Output]:
        """Each client's logits (n, classes) and features (n, d) for its own list of samples, nothing learned; counted."""
        self.work.forwards += sum(map(len, samples))
        return self.engine.own_outputs(parameters, base or self.base, samples)

    def logits(self, parameters: Parameters, samples: Sequence[Tensor], base: Base | None = None) -> list[Tensor]:
        """As `outputs`, the logits alone."""
        return [output.logits for output in self.outputs(parameters, samples, base)]

    def sample_losses(self, parameters: Parameters, samples: Sequence[Tensor], base: Base | None = None) -> list[Tensor]:
        """Each client's loss (n,) of its own list of samples, nothing learned."""
        logits = self.logits(parameters, samples, base)
        return [sample_losses(own, self.labels(index)) for own, index in zip(logits, samples, strict=True)]

    @cached_property
    def local_logits(self) -> list[Tensor]:
        """Each client's logits (n_k, classes) for all its samples at the model it received; one pass, whoever asks."""
        return self.logits(self.start, self.samples)


@dataclass(frozen=True)
class Observed:
    """What a simulation sees of C clients beside what they send: for diagnosis and evaluation, never for a stage."""

    models: ClientModels
    start: Parameters
    trained: Trained
    correction_ratio: Tensor  # (C,)
    forwards: int
    columns: Parameters
    notes: dict[str, list[Tensor]]


@dataclass(frozen=True)
class Reply:
    """What the C clients of a round send back."""

    sent: Parameters  # the factors after the upload stage, zero outside of the slots that are sent, and the head if it is sent
    shared: Shared
    count: Tensor  # (C,) n_k
    report: Memory  # stage -> what its server half reads; stacks over the clients
    observed: Observed


@dataclass(frozen=True)
class ServerView(View):
    """What the server half of a stage sees: what was sent to the clients, what they sent back, and the server's own model."""

    start: Parameters  # as it was broadcast
    base: Base
    model: Callable[[], tuple[Parameters, Base]]  # the server's own, as a client of rank R
    columns: Parameters = field(default_factory=dict)  # name -> (C, ...): for the record only
    sent: Parameters = field(default_factory=dict)  # slots that were not sent are as they were broadcast, given-up ones zero
    shared: Shared = NOTHING_YET
    counts: Tensor = field(default_factory=lambda: torch.zeros(0))  # (C,) n_k
    report: Memory = field(default_factory=dict)
    answers: Memory = field(default_factory=dict)  # stage -> what the clients replied to its question

    @cached_property
    def before(self) -> tuple[Parameters, Base]:
        """The server's own model before this round, as a client of rank R."""
        return self.model()

    @cached_property
    def scales(self) -> Tensor:
        """(C,) s_k over the slots that the server sees of each client."""
        ranks = self.shared.ranks
        return self.base.scales.new_tensor([self.setting.scaling(rank) for rank in ranks]) if ranks else self.base.scales

    @property
    def share(self) -> Tensor:
        """(C,) n_k / sum n."""
        return self.counts / self.counts.sum()

    def stack(self, parameters: Parameters, layer: str) -> Stack:
        """One layer's factors as a stack, a slot's own scale multiplied into B; without what never leaves the clients."""
        whole = layer_stack(parameters, layer, self.ranks)
        return whole.cut(self.shared.ranks) if self.shared.ranks else whole

    def server_update(self, layer: str) -> Factors:
        """The update that the server's factors held before this round: s B A of all slots, less what is cut out of the base."""
        parameters, base = self.before
        factors = layer_stack(parameters, layer, base.ranks)
        own = Factors(factors.A[0], factors.B[0]).times(float(base.scales[0]))
        return own if layer not in base.offsets else low_rank.difference(own, base.offsets[layer][0])


@dataclass
class RoundLog:
    """What is noted of a round for its record: columns per client, further numbers, pictures."""

    columns: Parameters = field(default_factory=dict)  # name -> (C, ...)
    scores: dict[str, float] = field(default_factory=dict)  # see Round.scores
    pictures: dict[str, Tensor] = field(default_factory=dict)  # see Round.pictures


@dataclass(frozen=True)
class RoundContext:
    """A whole round as its observer sees it, both sides at once; all that it may change is the log."""

    server: ServerView
    clients: Observed
    weights: Tensor  # (C,) p_k
    log: RoundLog

"""Experiment: everything a user can choose, checked when it is made, and the same in Python, JSON and a URL."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, get_args

from ilora.checks import allow, listed, number, one_line, one_of, whole
from ilora.lora.scaling import Scaling
from ilora.methods import Recipe, resolve
from ilora.methods.compatibility import refuse_epochs, refuse_regression
from ilora.tasks import TASKS, TaskCard
from ilora.tasks.catalogue import PLAIN_NAMES, TARGETS

MOST_CLIENTS = 1_000
MOST_RANK = 1_024  # of a backbone whose layers are not known before it is loaded

RANK_PROFILES: dict[str, tuple[str, tuple[int, ...]]] = {
    "spread": ("2, 4, 8 and 16 in turn", (2, 4, 8, 16)),
    "uniform": ("4 for everyone", (4,)),
    "paper": ("2, 4 and 6 in turn, as in the ILoRA paper", (2, 4, 6)),
    "heavy-tail": ("mostly 2, a few 4 and 8, one in sixteen 16", (2, 2, 4, 2, 2, 8, 2, 2, 4, 2, 2, 2, 4, 2, 16, 8)),
    "one-giant": ("16 for the first client, 2 for the others", (16, 2)),
}
SKEWS = {
    "iid": "everyone gets the same mix of classes",
    "label": "Dirichlet label skew: the smaller alpha, the fewer classes a client sees",
    "shards": "each client holds a few shards of sorted labels, so only a few classes",
    "quantity": "the same mix of classes, but Dirichlet-distributed amounts",
    "attribute": "the same mix of classes, but each client sees its samples in a style of its own (blurred, rotated, ...)",
}
OPTIMIZERS = {"adamw": "AdamW", "sgd": "SGD with momentum 0.9"}
ENGINES = {"vectorised": "all clients at once", "sequential": "one client after another on stock peft, the reference"}
DEVICES = ("auto", "cpu", "cuda", "mps")
WHOLE_NUMBERS = {
    "rounds": (1, 10_000),
    "local_steps": (0, 100_000),
    "batch_size": (1, 4_096),
    "shards": (1, 100),
    "noisy_clients": (0, MOST_CLIENTS),
    "seed": (0, 2**31 - 1),
}
PRECISIONS = {
    "float32": "float32 throughout",
    "tf32": "float32, with TF32 matrix products in training on CUDA",
    "bfloat16": "bfloat16 activations in the backbone, all else float32",
}
_CHOICES: dict[str, Collection[str]] = {
    "skew": SKEWS,
    "optimizer": OPTIMIZERS,
    "engine": ENGINES,
    "device": DEVICES,
    "precision": PRECISIONS,
}


def profile_ranks(profile: str, clients: int) -> tuple[int, ...]:
    """The rank of each of `clients` clients under a named profile."""
    pattern = RANK_PROFILES[profile][1]
    if profile == "one-giant":
        return (pattern[0],) + (pattern[1],) * (clients - 1)
    return tuple(pattern[k % len(pattern)] for k in range(clients))


@dataclass(frozen=True)
class Experiment:
    """What is trained, by whom, how, and from which seed.

    Every field is checked on construction; a wrong one raises a ValueError of one sentence that names the field, its value
    and what is allowed.
    """

    task: str = "digits"
    method: str = "ilora"
    ranks: Sequence[int] | str = "spread"  # one rank per client, or the name of a profile
    clients: int | None = None  # with a profile: how many; 8 if not said
    skew: str = "label"
    alpha: float = 0.3
    shards: int = 2
    noisy_clients: int = 0  # so many, drawn by the seed, hold random labels
    participation: float = 1.0
    left_out: Sequence[int] = ()  # these clients, counted from 0, never take part
    rounds: int = 15
    local_steps: int = 10
    local_epochs: int | None = None  # instead of local_steps: passes of each client over its own samples
    batch_size: int = 16
    optimizer: str = "adamw"
    lr: float = 2e-3
    scaling: float | str | None = None  # None: the method's own, 1 for most
    backbone: str = ""  # empty: the task's own
    data: str = ""  # the folder of files that do not come with the program; empty: data/cache, filled by one download
    adapter: str = ""  # the folder of a PEFT adapter to start from; empty: the backbone as it is, and a fresh head
    targets: Sequence[str] = ()  # empty: the backbone's own, query and value for most
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    engine: str = "vectorised"
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one_of("task", self.task, TASKS)
        card = TASKS[self.task]
        one_line("backbone", self.backbone)
        one_line("data", self.data)
        one_line("adapter", self.adapter)
        self._set("backbone", self.backbone or card.backbone)
        allow(card.fits(self.backbone), "backbone", self.backbone, _backbones(card))
        backbone = card.backbones.get(self.backbone)
        self._set("targets", tuple(listed("targets", self.targets)) or (backbone.targets if backbone else TARGETS))
        self._set("options", _options(self.options))
        for target in self.targets:
            _target(target) if backbone is None else one_of("targets", target, backbone.linears)
        self._check_numbers()
        self._check_clients(card)
        for name, allowed in _CHOICES.items():
            one_of(name, getattr(self, name), allowed)
        if card.regression:
            allow(self.noisy_clients == 0, "noisy_clients", self.noisy_clients, f"0; task {self.task} has no classes to mix up")
        if self.skew == "attribute" and not card.styles:
            allow(False, "skew", self.skew, f"iid, label, shards, quantity; task {self.task} has no styles to tell clients apart")
        if self.scaling is not None:
            scaling = Scaling.parse(self.scaling)
            self._set("scaling", str(scaling) if scaling.over else scaling.alpha)
        if card.regression:
            refuse_regression(self.recipe.ingredients)
        if self.local_epochs is not None:
            refuse_epochs(self.recipe.ingredients)
        needed = self.recipe.needed_skew  # an unknown method or option is refused here
        if needed not in ("", self.skew):
            way_out = "or options negative_control = True, to see that it has nothing to do without"
            allow(False, "skew", self.skew, f"{needed}, which method {self.method} needs, {way_out}")

    def _check_numbers(self) -> None:
        for name, (least, greatest) in WHOLE_NUMBERS.items():
            self._set(name, whole(name, getattr(self, name), least, greatest))
        if self.local_epochs is not None:
            self._set("local_epochs", whole("local_epochs", self.local_epochs, 1, 1_000))
        self._set("alpha", number("alpha", self.alpha, 0.001, 1_000))
        self._set("participation", number("participation", self.participation, 0.001, 1))
        self._set("lr", number("lr", self.lr, 0, 10))

    def _check_clients(self, card: TaskCard) -> None:
        self._check_ranks(card)
        known = self.clients or 1
        left_out = sorted({whole("left_out", k, 0, known - 1) for k in listed("left_out", self.left_out)})
        allow(len(left_out) < known, "left_out", left_out, f"all but one of the {known} clients at most")
        self._set("left_out", tuple(left_out))
        allow(
            self.noisy_clients <= (self.clients or 1), "noisy_clients", self.noisy_clients, f"at most {self.clients}, all clients"
        )

    def _check_ranks(self, card: TaskCard) -> None:
        most = min(MOST_CLIENTS, card.train_samples)
        if self.clients is not None:
            self._set("clients", whole("clients", self.clients, 1, most))
        backbone = card.backbones.get(self.backbone)
        greatest = backbone.smallest_dimension(self.targets) if backbone else MOST_RANK  # else seen when it is loaded
        if isinstance(self.ranks, str):
            allow(self.ranks in RANK_PROFILES, "ranks", self.ranks, f"a list of ranks, or one of {', '.join(RANK_PROFILES)}")
            self._set("clients", self.clients or 8)
            largest = max(self.client_ranks)
            allow(largest <= greatest, "ranks", self.ranks, f"a profile up to rank {greatest}, the smallest layer's dimension")
            return
        ranks = tuple(whole("ranks", rank, 1, greatest) for rank in listed("ranks", self.ranks))
        allow(len(ranks) > 0, "ranks", [], "at least one rank")
        allow(len(ranks) <= most, "ranks", f"a list of {len(ranks)} clients", f"at most {most} clients on task {self.task}")
        allow(self.clients in (None, len(ranks)), "clients", self.clients, f"{len(ranks)}, the number of ranks given")
        self._set("ranks", ranks)
        self._set("clients", len(ranks))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @cached_property
    def recipe(self) -> Recipe:
        """The method with its ingredients and options made definite."""
        return resolve(self.method, self.options, self.scaling)

    @property
    def client_ranks(self) -> tuple[int, ...]:
        """The rank of every client, K of them."""
        return profile_ranks(self.ranks, self.clients or 1) if isinstance(self.ranks, str) else tuple(self.ranks)

    def replace(self, **changes: Any) -> "Experiment":
        """The same experiment with some fields changed, checked anew."""
        if "clients" not in changes and not isinstance(changes.get("ranks", self.ranks), str):
            changes["clients"] = None
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Every field as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in {**asdict(self), "options": dict(self.options)}.items()
        }

    def to_json(self) -> str:
        """The experiment as JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Experiment":
        """Rebuild an experiment; ValueError for a field that does not exist."""
        known = {f.name for f in fields(cls)}
        for name in values:
            allow(name in known, "field", name, ", ".join(sorted(known)))
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """Rebuild an experiment from its JSON."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"experiment is not JSON ({error}); allowed is what Experiment.to_json writes.") from None
        allow(isinstance(values, dict), "experiment", values, "a JSON object")
        return cls.from_dict(values)

    def to_query(self) -> dict[str, str]:
        """The fields that differ from the default, as text for a URL."""
        plain = Experiment()
        return {
            name: _as_text(value)
            for name, value in self.to_dict().items()
            if value != plain.to_dict()[name] and not (name == "clients" and not isinstance(self.ranks, str))
        }

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Experiment":
        """Rebuild an experiment from a URL's parameters, each checked; parameters that are no field are ignored."""
        known = {f.name: f.type for f in fields(cls)}
        return cls(**{name: _from_text(name, known[name], text) for name, text in query.items() if name in known})


def _target(value: Any) -> None:
    good = isinstance(value, str) and re.fullmatch(r"[\w.-]{1,100}", value) is not None
    allow(good, "targets", value, f"{', '.join(PLAIN_NAMES)}, or how names of linears in the model end")


def _backbones(card: TaskCard) -> str:
    kind = f", or any transformers model for {card.kind}s by its name or folder" if card.any_backbone else ""
    return ", ".join(card.backbones) + kind


def _options(options: Any) -> dict[str, Any]:
    allow(
        isinstance(options, Mapping) and all(isinstance(name, str) for name in options),
        "options",
        options,
        "a mapping of names to values",
    )
    return dict(options)


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return json.dumps(value) if isinstance(value, dict) else str(value)


def _from_text(name: str, kind: Any, text: str) -> Any:
    """Read a field from a URL or a command line; what cannot be read is passed on for the field's own check to refuse."""
    if name == "options":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    if name == "left_out":
        return [_as_number(part) for part in text.split(",") if part]
    if name == "targets":
        return [part.strip() for part in text.split(",")]
    if name == "ranks":
        return text if text in RANK_PROFILES else [_as_number(part) for part in text.split(",")]
    if name == "scaling" or {int, float} & {kind, *get_args(kind)}:
        return _as_number(text)
    return text


def _as_number(text: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text

"""Experiment: everything a user can choose, checked when it is made, and the same in Python, JSON and a URL."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from ilora.checks import FieldError, Setting, allow, listed, one_of, setting, settings_of, whole
from ilora.lora.scaling import Scaling
from ilora.methods import METHODS, Recipe, resolve
from ilora.methods.compatibility import refuse_epochs, refuse_regression
from ilora.records import brief, html_table
from ilora.tasks import TASKS, TaskCard
from ilora.tasks.catalogue import PLAIN_NAMES, TARGETS, BackboneCard

MOST_CLIENTS = 1_000
USUAL_CLIENTS = 8  # of a profile of ranks
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
PRECISIONS = {
    "float32": "all in float32",
    "tf32": "matrix products in training on CUDA in TF32, all else in float32",
    "bfloat16": "activations in the backbone in bfloat16, all else in float32",
}


def profile_ranks(profile: str, clients: int) -> tuple[int, ...]:
    """The rank of each of `clients` clients under a named profile."""
    pattern = RANK_PROFILES[profile][1]
    if profile == "one-giant":
        return (pattern[0],) + (pattern[1],) * (clients - 1)
    return tuple(pattern[k % len(pattern)] for k in range(clients))


@dataclass(frozen=True, repr=False)
class Experiment:
    """What is trained, by whom, how, and from which seed.

    Every field is checked on construction; a wrong one raises a FieldError of one sentence that names the field, its value
    and what is allowed.
    """

    # fmt: off
    task: str = setting("digits", choices=TASKS, group="task",
        about="The data to be learned and the frozen backbone that is adapted to it.")
    method: str = setting("ilora", choices=METHODS, group="method",
        about="How server and clients work together: where factors start, what is sent, how updates are aggregated.")
    ranks: Sequence[int] | str = setting("spread", least=1, greatest=MOST_RANK, choices=RANK_PROFILES, symbol="r_k",
        group="clients", sweep=("uniform", "spread", "paper", "heavy-tail", "one-giant"),
        about="The rank of every client: a profile, or a list of your own, as in 2,4,6.")
    clients: int | None = setting(None, least=1, greatest=MOST_CLIENTS, symbol="K", group="clients", sweep=(2, 4, 8, 16, 32),
        empty="8, or as many as a list of ranks has",
        about="For how many clients a profile of ranks is. Each trains on its own samples and sends its adapter and head.")
    skew: str = setting("label", choices=SKEWS, label="who holds what", group="data",
        sweep=("iid", "label", "shards", "quantity"), about="How unequal the clients' data are.")
    alpha: float = setting(0.3, least=0.001, greatest=1_000, label="Dirichlet α", group="data", sweep=(0.03, 0.1, 0.3, 1.0, 10.0),
        about="Dirichlet α of the skews label and quantity. Small: each client sees few classes. Large: about the same for all.")
    shards: int = setting(2, least=1, greatest=100, label="shards per client", group="data",
        about="The samples are sorted by class and cut into pieces; under the skew shards each client holds this many pieces.")
    noisy_clients: int = setting(0, greatest=MOST_CLIENTS, group="data", sweep=(0, 1, 2, 4),
        about="This number of clients has samples with random labels. The seed decides which ones.")
    participation: float = setting(1.0, least=0.001, greatest=1, sweep=(0.25, 0.5, 0.75, 1.0),
        about="The share of clients that take part in a round, drawn anew each round.")
    left_out: Sequence[int] = setting((), label="leave out", group="clients", empty="none",
        about="Excluded clients, counted from 0 in links and flags: they never take part, their samples go unused.")
    rounds: int = setting(15, least=1, greatest=10_000, symbol="T", group="length",
        about="How many times there is broadcast, local training, upload and aggregation.")
    local_steps: int = setting(10, greatest=100_000, sweep=(1, 5, 10, 20, 40),
        about="How many optimizer steps each client takes before it sends its adapter.")
    local_epochs: int | None = setting(None, least=1, greatest=1_000, symbol="E", empty="steps instead",
        about="Instead of steps: how often each client goes through its own samples. A client with more samples takes more.")
    batch_size: int = setting(16, least=1, greatest=4_096, sweep=(4, 16, 64),
        about="How many samples a client uses in one step.")
    optimizer: str = setting("adamw", choices=OPTIMIZERS, about="How a client turns gradients into steps.")
    lr: float = setting(2e-3, greatest=10, symbol="η", label="learning rate", sweep=(0.0005, 0.001, 0.002, 0.005, 0.01),
        about="How large a client's steps are.")
    scaling: float | str | None = setting(None, symbol="s", label="scaling s", empty="the method's own",
        about="s in ΔW = s·BA: a number, 16/r or 16/sqrt(r). With mixed ranks α/r is a different algorithm.")
    backbone: str = setting("", group="task", empty="the task's own",
        about="The pretrained model, which stays frozen; for some tasks any transformers model, by name or folder.")
    data: str = setting("", group="task", label="data folder", empty="the cache, filled by one download",
        about="A folder with the task's files, where they do not come with the program.")
    adapter: str = setting("", label="start from adapter", empty="the backbone as it is",
        about="A folder with an adapter that PEFT saved. It is merged into the backbone, and the run goes on from there.")
    targets: Sequence[str] = setting((), label="adapted layers", empty="the backbone's own",
        about="The linear layers that carry an adapter, as in query,value.")
    seed: int = setting(0, greatest=2**31 - 1, group="length", sweep=(0, 1, 2, 3, 4),
        about="Where all randomness starts. Two methods with one seed see the same clients and the same batches.")
    device: str = setting("auto", choices=DEVICES, about="The hardware that computes: CPU or GPU.")
    precision: str = setting("float32", choices=PRECISIONS,
        about="The number format in which the backbone computes. Adapters and the server always use float32.")
    engine: str = setting("vectorised", choices=ENGINES,
        about="Clients trained all at once, or one after the other on stock peft: the same numbers, more slowly.")
    options: Mapping[str, Any] = setting({}, label="ingredients", group="ingredients",
        about="The method's mode, the ingredients that replace its own, and their options.")
    # fmt: on

    def __post_init__(self) -> None:
        card = TASKS[settings_of(type(self))["task"].check(self.task)]
        for name, own in settings_for(card, type(self)).items():
            self._set(name, own.check(getattr(self, name)))
        self._set("backbone", _backbone(self.backbone, card))
        backbone = card.backbones.get(self.backbone)
        self._set("targets", _targets(self.targets, backbone))
        self._set("ranks", _ranks(self, card, backbone))
        self._set("clients", _clients(self))
        self._set("left_out", _left_out(self))
        if self.scaling is not None:
            scaling = Scaling.parse(self.scaling)
            self._set("scaling", str(scaling) if scaling.over else scaling.alpha)
        _check_together(self, card)

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

    def _changes(self) -> dict[str, Any]:
        """The fields that differ from the default."""
        plain = Experiment().to_dict()
        return {name: value for name, value in self.to_dict().items() if value != plain[name]}

    def __repr__(self) -> str:
        return brief("Experiment", self._changes())

    def _repr_html_(self) -> str:
        return html_table("Experiment", {"task": self.task, "method": self.method, "ranks": self.client_ranks} | self._changes())

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
        """Rebuild an experiment; FieldError for a field that does not exist."""
        known = sorted(settings_of(cls))
        for name in values:
            allow(name in known, "field", name, ", ".join(known))
        return cls(**values)

    @classmethod
    def from_json(cls, text: str) -> "Experiment":
        """Rebuild an experiment from its JSON."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            allowed = "what Experiment.to_json writes"
            raise FieldError("experiment", text, allowed, f"experiment is not JSON ({error}); allowed is {allowed}.") from None
        allow(isinstance(values, dict), "experiment", values, "a JSON object")
        return cls.from_dict(values)

    def to_query(self) -> dict[str, str]:
        """The fields that differ from the default, as text for a URL."""
        values, plain = self.to_dict(), type(self)().to_dict()
        given_by_ranks = set() if isinstance(self.ranks, str) else {"clients"}
        return {
            name: own.write(values[name])
            for name, own in settings_of(type(self)).items()
            if values[name] != plain[name] and name not in given_by_ranks
        }

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> "Experiment":
        """Rebuild an experiment from a URL's parameters, each checked; parameters that are no field are ignored."""
        known = settings_of(cls)
        return cls(**{name: known[name].read(text) for name, text in query.items() if name in known})


def settings_for(card: TaskCard, owner: type = Experiment) -> dict[str, Setting]:
    """Every setting by name, within the bounds that a task leaves."""
    found = settings_of(owner)
    most = min(found["clients"].greatest, card.train_samples)
    return found | {"clients": replace(found["clients"], greatest=most)}


def _backbone(value: str, card: TaskCard) -> str:
    """The name of the frozen model, the task's own where none is named."""
    kind = f", or any transformers model for {card.kind}s by its name or folder" if card.any_backbone else ""
    allow(card.fits(value or card.backbone), "backbone", value, ", ".join(card.backbones) + kind)
    return value or card.backbone


def _targets(values: Sequence[Any], backbone: BackboneCard | None) -> tuple[str, ...]:
    """The layers with adapters; of a backbone that is not known before it is loaded, whatever could be the name of one."""
    for value in values:
        if backbone is not None:
            one_of("targets", value, backbone.linears)
        else:
            good = isinstance(value, str) and re.fullmatch(r"[\w.-]{1,100}", value) is not None
            allow(good, "targets", value, f"{', '.join(PLAIN_NAMES)}, or how names of linears in the model end")
    return tuple(values) or (backbone.targets if backbone else TARGETS)


def _ranks(given: Experiment, card: TaskCard, backbone: BackboneCard | None) -> tuple[int, ...] | str:
    """The profile, or the rank of every client; no rank is larger than the smallest layer, where that is known already."""
    greatest = backbone.smallest_dimension(given.targets) if backbone else MOST_RANK
    if isinstance(given.ranks, str):
        allow(given.ranks in RANK_PROFILES, "ranks", given.ranks, f"a list of ranks, or one of {', '.join(RANK_PROFILES)}")
        largest = max(profile_ranks(given.ranks, given.clients or USUAL_CLIENTS))
        allow(largest <= greatest, "ranks", given.ranks, f"a profile up to rank {greatest}, the smallest layer's dimension")
        return given.ranks
    ranks = tuple(whole("ranks", rank, 1, greatest) for rank in listed("ranks", given.ranks))
    most = min(MOST_CLIENTS, card.train_samples)
    allow(len(ranks) > 0, "ranks", [], "at least one rank")
    allow(len(ranks) <= most, "ranks", f"a list of {len(ranks)} clients", f"at most {most} clients on task {given.task}")
    return ranks


def _clients(given: Experiment) -> int:
    """How many clients there are: as many as ranks, or as were asked for a profile."""
    if isinstance(given.ranks, str):
        return given.clients or USUAL_CLIENTS
    known = len(given.ranks)
    allow(given.clients in (None, known), "clients", given.clients, f"{known}, the number of ranks given")
    return known


def _left_out(given: Experiment) -> tuple[int, ...]:
    """Who never takes part, in order and each once; somebody must."""
    known = given.clients or 1
    left_out = sorted({whole("left_out", k, 0, known - 1) for k in given.left_out})
    allow(len(left_out) < known, "left_out", left_out, f"all but one of the {known} clients at most")
    return tuple(left_out)


def _check_together(given: Experiment, card: TaskCard) -> None:
    """FieldError where single values are right and do not go together."""
    noisy, clients = given.noisy_clients, given.clients or 1
    allow(noisy <= clients, "noisy_clients", noisy, f"at most {clients}, all clients")
    if card.regression:
        allow(noisy == 0, "noisy_clients", noisy, f"0; task {given.task} has no classes to mix up")
        refuse_regression(given.recipe.ingredients)
    if given.skew == "attribute" and not card.styles:
        allow(False, "skew", given.skew, f"iid, label, shards, quantity; task {given.task} has no styles to tell clients apart")
    if given.local_epochs is not None:
        refuse_epochs(given.recipe.ingredients, given.local_epochs)
    needed = given.recipe.needed_skew  # an unknown option is refused here
    if needed not in ("", given.skew):
        way_out = "or options negative_control = True, to see that it has nothing to do without"
        allow(False, "skew", given.skew, f"{needed}, which method {given.method} needs, {way_out}")

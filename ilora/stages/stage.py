"""What a stage of a round is: the hooks of its two halves, and how a recipe's eight stages are made from a run's setting.

The client half of a stage sees its own samples, its own memory and what was broadcast to it; the server half sees what was
sent and its own state. A hook that is not overridden does nothing.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ilora.checks import FieldError
from ilora.lora.aggregation import Aggregate, Upload
from ilora.lora.scaling import Scaling
from ilora.methods import Recipe
from ilora.methods.ingredients import STAGES
from ilora.stages.context import ClientModels, ClientView, RoundContext, RunSetting, ServerView, Shared
from ilora.stages.initialise import Place, Start
from ilora.tasks.base import Data
from ilora.training.client_model import Parameters
from ilora.training.local_work import LocalWork, Objective, Train, Trained


class Stage:
    """One stage of a round with what it keeps between rounds. A subclass is made once per side from (setting, **options).

    The server's part of what is kept stands in `state`; what a client keeps stands in its own memory, stacks over the clients
    at hand, which `remembered(view)` gives.
    """

    client_memory: ClassVar[tuple[str, ...]] = ()  # how the names begin under which clients keep something; "": all names
    central: ClassVar[bool] = False  # trains at the server, on what clients gave away once: not federated, one state for both
    extra_forwards: ClassVar[int] = 0  # passes that the loss of a local step takes beside the one that is trained
    asks: bool = False  # whether the server has one more question after the replies; counted as one more download
    key: str = ""  # the stage of a round for which it was made
    state: Parameters  # what the server's half keeps

    def __new__(cls, *given: Any, **options: Any) -> "Stage":
        """An instance whose state is empty, whatever its own __init__ does."""
        made = super().__new__(cls)
        made.state = {}
        return made

    # --- the client half ---

    def remember(self, ids: Sequence[int]) -> Parameters:
        """What these clients remember before their first round; what is not named here is zero until it is written."""
        return {}

    def begin(self, view: ClientView) -> Parameters:
        """Stacks over the clients that the loss needs; they come back as `step.given`."""
        return {}

    def prepare(self, view: ClientView, work: LocalWork) -> LocalWork:
        """The local work as the clients shall do it."""
        return work

    def train(self, view: ClientView, work: LocalWork, train: Train) -> Trained:
        """Local training in a way of its own; one stage of a recipe at most overrides it."""
        return train(work)

    def end(self, view: ClientView) -> Parameters:
        """Called after the upload: the clients' memory moves on, and what is returned is sent as the stage's report."""
        return {}

    def answer(self, models: ClientModels, clients: Sequence[int], data: Data) -> Tensor:
        """Logits (c, n, classes) of some clients' own models for the same samples."""
        return models.logits(clients, data)

    def reply(self, view: ClientView, question: Parameters) -> Parameters:
        """What the clients answer to the server's question."""
        return {}

    # --- the server half ---

    def broadcast(self, server: ServerView) -> Parameters:
        """What the stage adds to the broadcast, stacks over the clients; NaN where there is nothing."""
        return {}

    def ask(self, server: ServerView) -> Parameters:
        """One question to the round's clients after their replies, stacks over them; where `asks`."""
        return {}

    def update(self, server: ServerView) -> None:
        """Called when the server has taken the round's outcome: its state moves on."""

    def head(self, server: ServerView, before: Parameters, mean: Parameters) -> Parameters:
        """The head that is kept, from the server's and the clients' mean."""
        return mean

    # --- the observer, in a simulation only ---

    def observe(self, context: RoundContext) -> None:
        """Note in the log what needs a look at both sides; no stage reads it."""

    def packed(self, numbers: int, vectors: int) -> int | None:
        """Bytes of the factors that go up, where they are packed closer than float32; a vector is a row of A, a column of B."""
        return None

    # --- what every stage has ---

    def remembered(self, view: ClientView) -> Parameters:
        """This stage's memory of the clients at hand; moves on in place."""
        return view.memory[self.key]

    def is_a_clients(self, name: str) -> bool:
        """Whether what the stage keeps under this name belongs to the clients."""
        return name.startswith(self.client_memory)

    def received(self, view: ClientView) -> Parameters:
        """What this stage's server half added to the broadcast."""
        return view.received.get(self.key, {})

    def reported(self, server: ServerView) -> Parameters:
        """What this stage's client half reported."""
        return server.report.get(self.key, {})


@dataclass(frozen=True)
class Stages:
    """A recipe's eight stages as they are called, in the order of a round, and the hooks of each."""

    initialise: Callable[[Tensor, int, Scaling, Place], Start]
    sharing: Callable[[ClientView], Shared]
    objective: Objective
    correction: Callable[[ClientView], Parameters | None]
    upload: Callable[[ClientView], Parameters]
    weighting: Callable[[ServerView], Tensor]
    aggregate: Callable[[Upload], Aggregate]
    server: Callable[[ServerView, str, Aggregate], Aggregate]
    hooks: dict[str, Stage]

    @property
    def training(self) -> Stage:
        """The stage that trains in a way of its own, or any that trains plainly."""
        return next((stage for stage in self.hooks.values() if trains(type(stage))), self.hooks["sharing"])


PUBLIC = {name for name, _ in inspect.getmembers(Stage, inspect.isfunction) if not name.startswith("_")}
HOOKS = PUBLIC - {"remembered", "received", "reported", "is_a_clients"}  # what a subclass may override


def make_stages(recipe: Recipe, setting: RunSetting) -> Stages:
    """The stages of a recipe for one side of a run; FieldError as for `check_stages`."""
    check_stages(recipe)
    made = {stage: make(recipe, stage, setting) for stage in STAGES}
    hooks = {stage: own if isinstance(own, Stage) else Stage() for stage, own in made.items()}
    for stage, own in hooks.items():
        own.key = stage
    return Stages(**made, hooks=hooks)


def make(recipe: Recipe, stage: str, setting: RunSetting | None = None) -> Callable[..., Any]:
    """One stage of a recipe with its options in place: the function, or a `Stage` made from the run's setting."""
    own = {name: recipe.options[name] for name in recipe.ingredient(stage).options}
    source = _checked_source(recipe, stage)
    return source(setting, **own) if isinstance(source, type) else partial(source, **own)


def check_stages(recipe: Recipe) -> None:
    """FieldError for a class that is no `Stage`, a public method that nothing would ever call, and a second stage that trains."""
    training = [stage for stage in STAGES if trains(_checked_source(recipe, stage))]
    if len(training) > 1:
        one, other = (f"{stage} {recipe.ingredients[stage]!r}" for stage in training[:2])
        allowed = "one stage that trains the clients in a way of its own"
        sentence = f"{one} and {other} both train the clients in a way of their own; allowed is only {allowed}."
        raise FieldError(f"options.{training[1]}", recipe.ingredients[training[1]], allowed, sentence)


def _checked_source(recipe: Recipe, stage: str) -> Any:
    """The function or class of one stage; FieldError for a class that is no `Stage`, or has a public method that is no hook."""
    key, source = recipe.ingredients[stage], recipe.ingredient(stage).load()
    if not isinstance(source, type):
        return source
    public = {name for name, _ in inspect.getmembers(source, inspect.isroutine) if not name.startswith("_")}
    if not issubclass(source, Stage):
        said, allowed = f"is the class {source.__name__}", "functions and subclasses of ilora.Stage"
    elif unknown := sorted(public - PUBLIC):
        said = f"has the method {unknown[0]}, which is no hook"
        allowed = f"{', '.join(sorted(HOOKS))}, and names of its own that begin with _"
    else:
        return source
    raise FieldError(f"options.{stage}", key, allowed, f"{stage} {key!r} {said}; allowed are {allowed}.")


def trains(source: object) -> bool:
    """Whether a stage is made by a class that trains in a way of its own."""
    return isinstance(source, type) and issubclass(source, Stage) and source.train is not Stage.train


def to_snapshot(stage: Stage, kept: Parameters, clients: bool) -> Parameters:
    """What the clients, or the server, keep for a stage, as "<stage>/<name>"; FieldError for a name that is the other side's."""
    for name in kept:
        if stage.is_a_clients(name) != clients:
            starts = " or ".join(map(repr, stage.client_memory)) or "nothing"
            allowed = f"names that begin with {starts} (client_memory) at the clients, and others at the server"
            sentence = f"{stage.key} keeps {name!r} at the {'clients' if clients else 'server'}; allowed are {allowed}."
            raise FieldError(f"options.{stage.key}", name, allowed, sentence)
    return {f"{stage.key}/{name}": tensor for name, tensor in kept.items()}


def from_snapshot(stage: Stage, tensors: Parameters, clients: bool) -> Parameters:
    """What `to_snapshot` took of one side, out of all that a snapshot holds."""
    start = f"{stage.key}/"
    own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    return {name: tensor for name, tensor in own.items() if stage.is_a_clients(name) == clients}

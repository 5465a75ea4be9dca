"""What a round sends: every number of the adapters and heads, what the stages add, and the bytes that carry them."""

from collections.abc import Mapping
from math import ceil
from typing import NamedTuple

from torch import Tensor

from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate
from ilora.lora.factors import Factors
from ilora.stages.context import Memory, ServerView, View, slots_of
from ilora.stages.stage import Stages
from ilora.training.client_model import Parameters

BYTES_PER_FLOAT = 4


class Traffic(NamedTuple):
    """Numbers sent by, and to, all clients of a round together, and their bytes."""

    floats_up: int
    floats_down: int
    bytes_up: int
    bytes_down: int


def of_round(
    server: ServerView,
    stages: Stages,
    aggregates: Mapping[str, Aggregate],
    held: Mapping[str, Factors],
    head: int,
    extra: Memory,
    asked: bool,
) -> Traffic:
    """The traffic of a round.

    held: the server's factors of rank R before it; head: numbers of one head; extra: what the stages added to the broadcast;
    asked: whether the clients received the model once more, as a question.
    """
    central = [name for name, stage in stages.hooks.items() if stage.central]
    if central:  # the server trains alone on what was given away once
        up = sum(numbers_in(server, server.report.get(name, {})) for name in central)
        return Traffic(up, 0, BYTES_PER_FLOAT * up, 0)
    numbers = vectors = model = 0
    for layer, aggregate in aggregates.items():
        A, B, scales = sent_slots(server, layer)
        d_out, d_in = server.setting.shapes[layer]
        numbers, vectors = numbers + A * d_in + B * d_out + scales, vectors + A + B + (scales > 0) * len(server.ids)
        model += received(server, layer, aggregate, held[layer])
    heads = head * len(server.ids) * server.shared.head
    up = numbers + heads + sum(numbers_in(server, own) for own in server.report.values())
    up += sum(numbers_in(server, own) for own in server.answers.values()) + len(server.shared.kept)
    down = (1 + asked) * (model + heads) + sum(numbers_in(server, own) for own in extra.values())
    packed = stages.hooks["upload"].packed(numbers, vectors)
    saved = 0 if packed is None else BYTES_PER_FLOAT * numbers - packed
    told = server.shared.chosen or server.budgets != server.ranks  # which slots are sent: a bit for each that a client holds
    chosen = len(aggregates) * sum(ceil(rank / 8) for rank in server.ranks) if told else 0
    return Traffic(up, down, BYTES_PER_FLOAT * up - saved + chosen, BYTES_PER_FLOAT * down)


def numbers_in(view: View, stacks: Parameters) -> int:
    """How many numbers stacks over the clients hold: a parameter's in the slots that a client has, of others all but NaN."""
    parameters = {name: tensor for name, tensor in stacks.items() if is_parameter(view, name)}
    owned = view.spread(parameters, view.owned, view.owned)
    return sum(int(_there(tensor, owned.get(name)).sum()) for name, tensor in stacks.items())


def is_parameter(view: View, name: str) -> bool:
    """Whether a name is that of a parameter of the model."""
    return name.startswith("head.") or name.rpartition(".")[0] in view.setting.shapes


def _there(tensor: Tensor, owned: Tensor | None) -> Tensor:
    return ~tensor.isnan() if owned is None else ~tensor.isnan() & owned.bool()


def sent_slots(server: ServerView, layer: str) -> tuple[int, int, int]:
    """How many slots of A, of B, and how many scales all clients send of one layer."""
    shared = server.shared
    A, B = (int(slots_of(slots, layer).sum()) for slots in (shared.send_A, shared.send_B))
    return A, B, 0 if shared.scales is None else int(slots_of(shared.scales, layer).sum())


def received(server: ServerView, layer: str, aggregate: Aggregate, old: Factors) -> int:
    """How many numbers all clients receive of one layer: the factors that changed, or everything that is merged."""
    if aggregate.merge:
        return numbers_of(aggregate.server_factors) * len(server.ids)
    A, B, _ = sent_slots(server, layer)
    new = aggregate.factors(server.setting.rank)
    needed = server.owned if server.shared.receive is None else slots_of(server.shared.receive, layer)
    d_out, d_in = server.setting.shapes[layer]
    width = d_in * bool(A or (new.A != old.A).any()) + d_out * bool(B or (new.B != old.B).any())
    residual = 0 if aggregate.residual is None else numbers_of(aggregate.residual) * len(server.ids)
    return int(needed.sum()) * width + residual


def numbers_of(update: Factors) -> int:
    """How many numbers it takes to send an update: its factors, or the dense matrix where they are no thinner."""
    return update.A.numel() + update.B.numel() if low_rank.is_thin(update) else len(update.B) * update.A.shape[1]

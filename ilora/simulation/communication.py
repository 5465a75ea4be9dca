"""What a round sends: every number of the adapters and heads, and the bytes that carry them."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from ilora.lora import low_rank
from ilora.lora.aggregation import Aggregate
from ilora.lora.factors import Factors
from ilora.stages.context import BYTES_PER_FLOAT, Traffic, Turn, slots_of


def of_turn(
    turn: Turn, stages: Mapping[str, Any], aggregates: Mapping[str, Aggregate], server: Mapping[str, Factors], head: int
) -> Traffic:
    """The traffic of a round with what its ingredients send beside; a sharing ingredient may count it all by itself."""
    if hasattr(stages["sharing"], "traffic"):
        own: Traffic = stages["sharing"].traffic(turn)
        return own
    return count(
        turn,
        aggregates,
        server,
        head,
        extra=getattr(stages["correction"], "extra_floats", 0),
        extra_down=sum(getattr(stage, "extra_floats_down", 0) for stage in stages.values()),
        packed=getattr(stages["upload"], "packed", None),
    )


def count(
    turn: Turn,
    aggregates: Mapping[str, Aggregate],
    server: Mapping[str, Factors],
    head: int,
    extra: int = 0,
    extra_down: int = 0,
    packed: Callable[[int, int], int] | None = None,
) -> Traffic:
    """The traffic of a round; `server`: the factors of rank R before it, `head`: numbers of one head.

    extra: numbers that a correction sends beside each number, each way; extra_down: further ones on the way down.
    packed: (numbers, vectors) -> bytes of the factors that go up, where an upload packs them closer than float32; a vector is a
    row of A or a column of B.
    """
    numbers = vectors = down = 0
    for layer, aggregate in aggregates.items():
        A, B, scales = sent_slots(turn, layer)
        d_out, d_in = turn.setting.shapes[layer]
        numbers, vectors = numbers + A * d_in + B * d_out + scales, vectors + A + B + (scales > 0) * len(turn.ids)
        down += scales + received(turn, layer, aggregate, server[layer])
    heads = head * len(turn.ids) * turn.sharing.head
    up, down = (1 + extra) * (numbers + heads) + turn.floats_up, (1 + extra + extra_down) * (down + heads) + turn.floats_down
    saved = 0 if packed is None else BYTES_PER_FLOAT * numbers - packed(numbers, vectors)
    told = turn.sharing.chosen or turn.budgets != turn.ranks  # which slots are sent: a bit for each that a client holds
    chosen = len(aggregates) * sum(ceil(rank / 8) for rank in turn.ranks) if told else 0
    return Traffic(up, down, BYTES_PER_FLOAT * up - saved + chosen, BYTES_PER_FLOAT * down)


def sent_slots(turn: Turn, layer: str) -> tuple[int, int, int]:
    """How many slots of A, of B, and how many scales all clients send of one layer."""
    shared = turn.sharing
    A, B = (int(slots_of(slots, layer).sum()) for slots in (shared.send_A, shared.send_B))
    return A, B, 0 if shared.scales is None else int(slots_of(shared.scales, layer).sum())


def received(turn: Turn, layer: str, aggregate: Aggregate, old: Factors) -> int:
    """How many numbers all clients receive of one layer: the factors that changed, or everything that is merged."""
    if aggregate.merge:
        return numbers_of(aggregate.server_factors) * len(turn.ids)
    A, B, _ = sent_slots(turn, layer)
    new = aggregate.factors(turn.setting.rank)
    needed = turn.owned if turn.sharing.receive is None else slots_of(turn.sharing.receive, layer)
    d_out, d_in = turn.setting.shapes[layer]
    width = d_in * bool(A or (new.A != old.A).any()) + d_out * bool(B or (new.B != old.B).any())
    residual = 0 if aggregate.residual is None else numbers_of(aggregate.residual) * len(turn.ids)
    return int(needed.sum()) * width + residual


def numbers_of(update: Factors) -> int:
    """How many numbers it takes to send an update: its factors, or the dense matrix where they are no thinner."""
    return update.A.numel() + update.B.numel() if low_rank.is_thin(update) else len(update.B) * update.A.shape[1]

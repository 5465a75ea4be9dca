"""The words that all sentences share: shares as per cent, lists, and the names of clients and layers."""

from collections.abc import Collection, Sequence
from math import isfinite

NOTHING = 5e-5  # a relative error below this is shown as nothing: float32 rounding


def percent(share: float, digits: int | None = None) -> str:
    """A share of 0..1 as per cent, with `digits` decimals; if not said, with one below 9.5 %, but none for a plain 0."""
    if digits is None:
        digits = 1 if 0.0005 <= share < 0.095 else 0
    return f"{100 * share:.{digits}f} %"


def share(value: float) -> str:
    """A share in words where a number would mislead: unknown, nothing, or next to nothing; else as per cent."""
    if not isfinite(value):
        return "an unknown share"
    if value < 0.0005:
        return "nothing" if value < NOTHING else "less than 0.1 %"
    return percent(value)


def listed(parts: Sequence[str]) -> str:
    """One, two and three, as in a sentence."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"


def client_name(identity: int, rank: int | None = None) -> str:
    """A client as the screen calls it: the first one is client 1."""
    return f"client {int(identity) + 1}" + ("" if rank is None else f" (rank {int(rank)})")


def clients_named(clients: Collection[int]) -> str:
    """Clients by their numbers: "client 3", "clients 1, 2 and 5"."""
    names = [str(int(k) + 1) for k in sorted(clients)]
    if len(names) < 2:
        return f"client {names[0]}" if names else "no client"
    return f"clients {', '.join(names[:-1])} and {names[-1]}"


def layer_names(layers: Sequence[str]) -> dict[str, str]:
    """Short names of layers, "block 2 query" for the query of the second block; the full names where these would clash."""
    short = {}
    for layer in layers:
        parts = layer.split(".")
        number = next((int(part) + 1 for part in parts if part.isdigit()), None)
        name = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "o_proj": "output"}.get(parts[-1], parts[-1])
        short[layer] = name if number is None else f"block {number} {name}"
    return short if len(set(short.values())) == len(short) else {layer: layer for layer in layers}

"""Plain names for the linears of a transformer, whatever its architecture and the transformers version call them."""

from collections.abc import Mapping, Sequence

from torch import nn

from ilora.checks import FieldError
from ilora.tasks.catalogue import PLAIN_NAMES


def _ends_with(name: str, suffix: str) -> bool:
    return f".{name}".endswith(f".{suffix}")


def _matches(name: str, target: str) -> bool:
    if target == "mlp-out" and _ends_with(name, "attention.output.dense"):
        return False
    return any(_ends_with(name, suffix) for suffix in PLAIN_NAMES.get(target, (target,)))


def _body(model: nn.Module, head: Sequence[str]) -> dict[str, nn.Linear]:
    """Every linear outside the head, by full module name and in model order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not any(f"{name}.".startswith(f"{part}.") for part in head)
    }


def _choices(linears: dict[str, nn.Linear]) -> list[str]:
    """What a user can ask for: the plain names that occur, then the last name of every linear that has none."""
    plain = [target for target in PLAIN_NAMES if any(_matches(name, target) for name in linears)]
    others = (name for name in linears if not any(_matches(name, target) for target in plain))
    return plain + list(dict.fromkeys(name.rpartition(".")[2] for name in others))


def find_linears(model: nn.Module, targets: Sequence[str], head: Sequence[str] = ("classifier",)) -> dict[str, nn.Linear]:
    """Linears that `targets` name (plain names or module-name suffixes), by full module name; weights (d_out, d_in)."""
    linears = _body(model, head)
    for target in targets:
        if not any(_matches(name, target) for name in linears):
            known = ", ".join(_choices(linears))
            raise FieldError("targets", target, known, f"targets: no linear is called {target!r}; this model has {known}")
    return {name: linear for name, linear in linears.items() if any(_matches(name, target) for target in targets)}


def check_rank(rank: int, linears: Mapping[str, nn.Linear]) -> None:
    """FieldError for a rank that the smallest of these linears cannot carry."""
    greatest = min(min(linear.weight.shape) for linear in linears.values())
    if rank > greatest:
        raise FieldError("ranks", rank, f"up to {greatest}, the smallest dimension of the layers that are adapted")

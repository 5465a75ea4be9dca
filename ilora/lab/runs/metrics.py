"""Metrics: the numbers of a round as they stand in the database and in archives, checked before anything relies on them."""

import json
from dataclasses import MISSING, fields
from math import isfinite
from typing import Any

from ilora.records import SCORE, Round

COUNTED = ("index", "floats_up", "floats_down", "bytes_up", "bytes_down", "forwards")
NAMES = {f.name for f in fields(Round) if f.type in (int, float)}
NEEDED = {f.name for f in fields(Round) if f.type in (int, float) and f.default is MISSING}
MOST_COUNTED = 2**62
MOST = 1e30  # of numbers whose size nothing else limits
SLACK = 1e-3  # by which rounding may carry a share over its end
RANGES = {  # where a number is limited by what it means; NaN is allowed where a quantity can be undefined
    "accuracy": (-1.0, 1.0),
    "personal_accuracy": (-1.0, 1.0),
    "alignment": (0.0, 1.0),
    "chance": (0.0, 1.0),
    "energy_share": (0.0, 1.0),
    "cosine": (-1.0, 1.0),
    "seconds": (0.0, 1e9),
    "peak_megabytes": (0.0, 1e9),
}
DEFINED = ("accuracy", "seconds", "peak_megabytes")  # never NaN


def read_metrics(text: str, index: int) -> dict[str, Any]:
    """The metrics of round `index` from their JSON; ValueError if they are not those of a round."""
    metrics = json.loads(text)
    check_metrics(metrics, index)
    found: dict[str, Any] = metrics
    return found


def check_metrics(metrics: Any, index: int) -> None:
    """ValueError unless these are the named numbers of round `index`."""
    plain = {name for name in metrics if not name.startswith(SCORE)} if isinstance(metrics, dict) else set()
    if not NEEDED <= plain <= NAMES:
        raise ValueError(f"the metrics of round {index} are not those of a round")
    for name, value in metrics.items():
        counted = name in COUNTED
        if isinstance(value, bool) or not isinstance(value, int if counted else int | float):
            raise ValueError(f"{name} of round {index} is {value!r}")
        if (counted or isinstance(value, int)) and not abs(value) <= MOST_COUNTED:
            raise ValueError(f"{name} of round {index} is a number of {len(str(value))} digits")
    if metrics["index"] != index:
        raise ValueError(f"round {index} calls itself {metrics['index']}")


def check_ranges(metrics: dict[str, Any], index: int) -> None:
    """ValueError unless each number lies where a round's can lie."""
    for name, value in metrics.items():
        least, most = RANGES.get(name, (0 if name in COUNTED else -MOST, MOST))
        undefined = value != value and name not in DEFINED
        if not undefined and not (isfinite(value) and least - SLACK <= value <= most + SLACK):
            raise ValueError(f"{name} of round {index} is {value!r}; allowed: a number from {least:g} to {most:g}")

"""The LoRA scaling s_k: one number for all ranks, or alpha/r and alpha/sqrt(r) as PEFT has them."""

import re
from dataclasses import dataclass
from math import isfinite, sqrt

from ilora.checks import FieldError, shown

_ALPHA_OVER_RANK = re.compile(r"\s*([0-9.eE+-]+)\s*/\s*(r|sqrt\(r\))\s*")


@dataclass(frozen=True)
class Scaling:
    """s as a function of the rank: `alpha` itself, alpha / r, or alpha / sqrt(r) (rsLoRA)."""

    alpha: float
    over: str = ""  # "", "r" or "sqrt(r)"

    def __call__(self, rank: int) -> float:
        return self.alpha / {"": 1.0, "r": rank, "sqrt(r)": sqrt(rank)}[self.over]

    def __str__(self) -> str:
        return f"{self.alpha:g}/{self.over}" if self.over else f"{self.alpha:g}"

    @classmethod
    def parse(cls, value: "float | str | Scaling") -> "Scaling":
        """Read 1.0, "16/r" or "16/sqrt(r)"; FieldError for anything else."""
        if isinstance(value, Scaling):
            return value
        match = _ALPHA_OVER_RANK.fullmatch(value) if isinstance(value, str) else None
        number, over = (match[1], match[2]) if match else (value, "")
        try:
            alpha = float("nan") if isinstance(number, bool) else float(number)
        except (TypeError, ValueError, OverflowError):
            alpha = float("nan")
        if not isfinite(alpha) or alpha <= 0:
            allowed = "a positive number, or one over the rank, as in '16/r' or '16/sqrt(r)'"
            raise FieldError("scaling", value, allowed, f"scaling is {shown(value)}; allowed are {allowed}.")
        return cls(alpha, over)

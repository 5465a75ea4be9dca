"""The stages of a round and the ingredients that each can take: names, formulas and options, with no tensor in sight.

An ingredient is one function, or one small class where it keeps state between rounds. It is named here by where it stands
and imported when a round needs it, so that the app can list, explain and check ingredients without torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class Option:
    """One setting of an ingredient: its default, and what is allowed (a tuple of values, or least and greatest)."""

    default: Any
    about: str
    values: tuple[Any, ...] = ()
    least: float | None = None
    greatest: float | None = None

    def check(self, name: str, value: Any) -> Any:
        """Return `value` if it is allowed; ValueError naming the option otherwise."""
        if self.values:
            if not any(value == allowed and type(value) is type(allowed) for allowed in self.values):
                raise ValueError(f"option {name} is {value!r}; allowed are {', '.join(map(repr, self.values))}.")
            return value
        least, greatest = (-float("inf") if self.least is None else self.least, self.greatest or float("inf"))
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not number or not least <= value <= greatest:
            raise ValueError(f"option {name} is {value!r}; allowed are numbers from {least:g} to {greatest:g}.")
        return float(value) if isinstance(self.default, float) else int(value)


@dataclass(frozen=True)
class Ingredient:
    """One way to do one stage of a round."""

    title: str
    idea: str
    source: str | Callable[..., Any]  # "module:name", or the function itself
    formula: str = ""
    options: Mapping[str, Option] = field(default_factory=dict)
    per_client: bool = False  # draws its own numbers for every client and round

    def load(self) -> Any:
        """The function or class that does the work."""
        if not isinstance(self.source, str):
            return self.source
        module, name = self.source.split(":")
        return getattr(import_module(module), name)


_DELTAS = Option(
    True,
    "aggregate what was learned, s B A minus the initial product, and go on from the backbone itself (True);"
    " or aggregate B A with the initial product in it, and leave it cut out of every client's base for good (False)",
    values=(True, False),
)
_STACK = r"\Delta W=\begin{bmatrix}B_1&\cdots&B_K\end{bmatrix}\begin{bmatrix}p_1A_1\\ \vdots\\ p_KA_K\end{bmatrix}"

INGREDIENTS: dict[str, dict[str, Ingredient]] = {
    "initialise": {
        "random": Ingredient(
            "Random A, zero B",
            "All clients start from the same random A, a client of rank r from its first r rows. B is zero: nothing moves yet.",
            "ilora.stages.initialise:random",
            r"A_{ij}\sim\mathcal U\!\left(-\tfrac1{\sqrt{d_{in}}},\tfrac1{\sqrt{d_{in}}}\right),\quad B=0",
        ),
        "qr": Ingredient(
            "QR residual",
            "Factors are the first r columns and rows of a QR of the pretrained weight; their product is cut out of the base.",
            "ilora.stages.initialise:qr_residual",
            r"\theta_0=QR,\quad B=\kappa Q_{:,1:r},\quad A=\kappa R_{1:r,:},\quad \theta_k=\theta_0-\sigma BA",
            {
                "rescale": Option(
                    False, "shrink the factors so that ||BA|| = 1e-4 sqrt(d_out d_in), as the authors' code does", (True, False)
                ),
                "residual": Option(
                    "scaled", "cut out s B A, which leaves the model as it was, or B A as it is", ("scaled", "plain")
                ),
            },
        ),
        "fresh": Ingredient(
            "Fresh each round",
            "Every client draws a new random A and starts from B = 0 each round, on a base into which the last round was merged.",
            "ilora.stages.initialise:fresh",
            r"A_k\sim\mathcal U,\quad B_k=0\quad\text{in every round}",
            per_client=True,
        ),
    },
    "sharing": {
        "both": Ingredient("A and B", "Both factors are trained and sent.", "ilora.stages.sharing:both", r"\{A_k,B_k\}"),
    },
    "objective": {
        "cross-entropy": Ingredient(
            "Cross-entropy",
            "Each client minimises the mean cross-entropy of its own samples.",
            "ilora.stages.objectives:cross_entropy",
            r"F_k=\tfrac1{n_k}\sum_i\mathrm{CE}(f(x_i),y_i)",
        ),
    },
    "correction": {
        "none": Ingredient(
            "None", "Clients follow their own gradient.", "ilora.stages.corrections:none", r"g\leftarrow\nabla F_k"
        ),
        "control-variates": Ingredient(
            "Control variates",
            "Each client's gradient is shifted by what the server remembers of all gradients, cut to the client's rank,"
            " minus what the client remembers of its own.",
            "ilora.stages.corrections:ControlVariates",
            r"g\leftarrow\nabla F_k+(\mathrm{trunc}_{r_k}(c)-c_k),"
            r"\quad c\leftarrow c+\tfrac1N\sum_{k\in S}\mathrm{pad}(c_k^{+}-c_k)",
            {
                "control_scale": Option(
                    "scaffold",
                    "c_k is the mean gradient of the client's samples ('scaffold'), or the sum of its batch gradients over its"
                    " number of samples, about a batch size smaller ('official')",
                    ("scaffold", "official"),
                )
            },
        ),
    },
    "upload": {
        "as-is": Ingredient("As they are", "Factors leave the client unchanged.", "ilora.stages.uploads:as_is", r"(A_k,B_k)"),
    },
    "weighting": {
        "samples": Ingredient(
            "Samples", "A client counts as much as it has samples.", "ilora.stages.weighting:samples", r"p_k=n_k/\sum_{j\in S}n_j"
        ),
    },
    "aggregate": {
        "mean": Ingredient(
            "Mean of padded factors",
            "A and B are padded with zeros to the largest rank and averaged each for itself.",
            "ilora.stages.aggregate:mean",
            r"A=\sum_kp_k\,\mathrm{pad}(A_k),\quad B=\sum_kp_k\,\mathrm{pad}(B_k)",
        ),
        "stack": Ingredient(
            "Stack and merge",
            "The factors are stacked, sent to all, and merged into everyone's base: nothing is lost, and everyone starts anew.",
            "ilora.stages.aggregate:stack",
            _STACK + r",\quad W\leftarrow W+s\,\Delta W",
        ),
        "svd": Ingredient(
            "Sum and SVD",
            "The updates are summed exactly; every client gets the best approximation that its rank can hold.",
            "ilora.stages.aggregate:truncated_svd",
            r"\sum_kp_ks_kB_kA_k=U\Sigma V^\top,\quad B=\tfrac1sU_{:,1:r}\Sigma_{1:r},\quad A=V_{:,1:r}^\top",
            {"deltas": _DELTAS},
        ),
        "concat-qr": Ingredient(
            "Concatenated QR",
            "The factors are stacked and their sum is split by a QR without pivoting; rank r gets the first r columns and rows.",
            "ilora.stages.aggregate:concatenated_qr",
            _STACK + r"=QR,\quad B=Q_{:,1:r},\quad A=R_{1:r,:}",
            {"deltas": _DELTAS},
        ),
        "concat-pivoted-qr": Ingredient(
            "Concatenated QR, pivoted",
            "As concatenated QR, but the columns that carry most are taken first.",
            "ilora.stages.aggregate:concatenated_pivoted_qr",
            _STACK + r"=QR\,\Pi^\top,\quad B=Q_{:,1:r},\quad A=(R\,\Pi^\top)_{1:r,:}",
            {"deltas": _DELTAS},
        ),
    },
    "server": {
        "take": Ingredient(
            "Take it", "The aggregate becomes the server's model.", "ilora.stages.server:take", r"G_{t+1}=\text{aggregate}"
        ),
    },
}
STAGES = tuple(INGREDIENTS)

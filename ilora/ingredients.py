"""The stages of a round and the ingredients that each can take: names, formulas and options, with no tensor in sight.

An ingredient is one function, or one small class where it keeps state between rounds. It is named here by where it stands
and imported when a round needs it, so that the app can list, explain and check ingredients without torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ilora.checks import shown


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
                raise ValueError(f"option {name} is {shown(value)}; allowed are {', '.join(map(repr, self.values))}.")
            return value
        least, greatest = (-float("inf") if self.least is None else self.least, self.greatest or float("inf"))
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= greatest:
            raise ValueError(f"option {name} is {shown(value)}; allowed are numbers from {least:g} to {greatest:g}.")
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
    whole: bool = False  # every client holds all of the server's slots; its rank is how many it may train and send
    personalised: bool = False  # parts stay with the clients for good: there is no global model
    needs_classes: bool = False  # works on class probabilities: nothing for a task whose labels are numbers
    same_steps: bool = False  # wants every client to take the same number of steps in a round
    skew: str = ""  # the skew without which it has nothing to do; option negative_control runs it all the same
    keeps_slots: bool = True  # slot j of the factors is still slot j after it; False: they are factorised or turned anew

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
        "b-only": Ingredient(
            "B only",
            "A is random, common and frozen for good; only B is trained and sent, at half the cost.",
            "ilora.stages.sharing:b_only",
            r"\{B_k\},\quad A_k=A_{1:r_k,:}\ \text{frozen}",
        ),
        "head-only": Ingredient(
            "The head alone",
            "No adapter is trained, only the head on the frozen backbone: what is left without LoRA.",
            "ilora.stages.sharing:head_only",
            r"\{h_k\},\quad\Delta W_k=0",
        ),
        "alternate": Ingredient(
            "B and A in turn",
            "Odd rounds train and send B, even rounds A; the other factor is common then, so the mean is exact.",
            "ilora.stages.sharing:alternate",
            r"\{B_k\}\ (t\ \text{odd}),\quad\{A_k\}\ (t\ \text{even})",
        ),
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
                ),
                "control_samples": Option(
                    0, "how many of its samples a client takes for c_k, drawn each round; 0: all of them, as ILoRA does", least=0
                ),
            },
        ),
    },
    "upload": {
        "as-is": Ingredient("As they are", "Factors leave the client unchanged.", "ilora.stages.uploads:as_is", r"(A_k,B_k)"),
        "rotate": Ingredient(
            "Rotate",
            "A client turns its slots towards the factors it received. Its product stays, but slots of different clients match.",
            "ilora.stages.uploads:rotate",
            r"R_k=\arg\min_{R^\top R=I}\|R^\top A_k-A_{ref}\|_F,\quad(R_k^\top A_k,\,B_kR_k)",
            {"soft": Option(0.5, "how far to turn: 0 not at all, 1 the full rotation", least=0.0, greatest=1.0)},
            keeps_slots=False,
        ),
    },
    "weighting": {
        "samples": Ingredient(
            "Samples", "A client counts as much as it has samples.", "ilora.stages.weighting:samples", r"p_k=n_k/\sum_{j\in S}n_j"
        ),
        "update-norm": Ingredient(
            "Size of the update",
            "A client counts as much as its update is large.",
            "ilora.stages.weighting:update_norm",
            r"p_k=\|\Delta W_k\|_F/\sum_{j\in S}\|\Delta W_j\|_F",
        ),
        "inverse-truncation": Ingredient(
            "Inverse truncation error",
            "A client counts more, the better its rank could hold the server's model.",
            "ilora.stages.weighting:inverse_truncation",
            r"p_k\propto\frac1{e_k+\varepsilon},\quad e_k=\frac{\|W^t-(W_0+B_k^0A_k^0)\|_F^2}{\|W^t-W_0\|_F^2}",
            {"floor": Option(0.1, "what is added to each error, as a share of the server's update", least=1e-9, greatest=1e6)},
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
            keeps_slots=False,
        ),
        "svd": Ingredient(
            "Sum and SVD",
            "The updates are summed exactly; every client gets the best approximation that its rank can hold.",
            "ilora.stages.aggregate:truncated_svd",
            r"\sum_kp_ks_kB_kA_k=U\Sigma V^\top,\quad B=\tfrac1sU_{:,1:r}\Sigma_{1:r},\quad A=V_{:,1:r}^\top",
            {
                "deltas": _DELTAS,
                "split": Option("B", "which factor carries the singular values: B (FlexLoRA) or A (HLoRA)", ("B", "A")),
            },
            keeps_slots=False,
        ),
        "concat-qr": Ingredient(
            "Concatenated QR",
            "The factors are stacked and their sum is split by a QR without pivoting; rank r gets the first r columns and rows.",
            "ilora.stages.aggregate:concatenated_qr",
            _STACK + r"=QR,\quad B=Q_{:,1:r},\quad A=R_{1:r,:}",
            {"deltas": _DELTAS},
            keeps_slots=False,
        ),
        "concat-pivoted-qr": Ingredient(
            "Concatenated QR, pivoted",
            "As concatenated QR, but the columns that carry most are taken first.",
            "ilora.stages.aggregate:concatenated_pivoted_qr",
            _STACK + r"=QR\,\Pi^\top,\quad B=Q_{:,1:r},\quad A=(R\,\Pi^\top)_{1:r,:}",
            {"deltas": _DELTAS},
            keeps_slots=False,
        ),
        "owners-mean": Ingredient(
            "Mean over the owners of a slot",
            "A slot is averaged over the clients that have it, so nobody dilutes what he does not hold.",
            "ilora.stages.aggregate:owners_mean",
            r"A_{j,:}=\frac{\sum_{k:\,r_k\ge j}p_kA_{k,j}}{\sum_{k:\,r_k\ge j}p_k},\quad B_{:,j}\ \text{alike}",
        ),
        "corrected-mean": Ingredient(
            "Mean, with B corrected",
            "A and B are averaged, then B is moved so that its product with A comes as near to the exact sum as it can.",
            "ilora.stages.aggregate:corrected_mean",
            r"\Delta B=(\Delta W-BA)A^\top(AA^\top+\lambda I)^{-1}",
            {
                "form": Option(
                    "closed", "least squares in closed form, or 200 gradient steps on the cosine", ("closed", "iterative")
                ),
                "penalty": Option(0.01, "how dear a correction is, lambda", least=0.0, greatest=10.0),
            },
        ),
        "mean-and-residual": Ingredient(
            "Mean, the rest into the base",
            "A and B are averaged; what their product misses goes into everyone's base.",
            "ilora.stages.aggregate:mean_and_residual",
            r"W\leftarrow W+s\Big(\sum_kp_kB_kA_k-BA\Big)",
        ),
        "rank-partitions": Ingredient(
            "Rank partitions and SVD",
            "Each band of slots is averaged over the clients that have all of it; the sum is split by an SVD.",
            "ilora.stages.aggregate:rank_partitions",
            r"\Delta W=\sum_h\sum_{k\in C_h}\tfrac{n_k}{N_h}B_k^{(h)}A_k^{(h)}=U\Sigma V^\top",
            {"split": Option("B", "where the singular values go: on B, or their root on both (raFLoRA's source)", ("B", "both"))},
            keeps_slots=False,
        ),
        "full-rank-deltas": Ingredient(
            "Full-rank server",
            "The server keeps the whole update and adds what the clients changed; only what it hands out is cut.",
            "ilora.stages.aggregate:full_rank_deltas",
            r"W^{t+1}=W^t+\sum_kp_ks_k(B_kA_k-B_k^0A_k^0)",
            keeps_slots=False,
        ),
        "thresholded-stack": Ingredient(
            "Stack, thresholded SVD",
            "The stack is cut where a share of its energy is kept, sent to all, and merged into everyone's base.",
            "ilora.stages.aggregate:thresholded_stack",
            r"\sum_{i\le p}\sigma_i^2\ge\tau\sum_i\sigma_i^2,\quad W\leftarrow W+U_{:,1:p}\Sigma_{1:p}V_{:,1:p}^\top",
            {"energy": Option(0.99, "share of the energy that is kept, tau", least=0.01, greatest=1.0)},
            keeps_slots=False,
        ),
    },
    "server": {
        "take": Ingredient(
            "Take it", "The aggregate becomes the server's model.", "ilora.stages.server:take", r"G_{t+1}=\text{aggregate}"
        ),
    },
}
STAGES = tuple(INGREDIENTS)

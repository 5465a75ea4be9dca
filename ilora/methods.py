"""The methods: each is a recipe that names an ingredient for the stages in which it differs from plain federated averaging."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ilora.ingredients import INGREDIENTS, STAGES, Ingredient, Option
from ilora.scaling import Scaling

PROVENANCE = {
    "code": "exact from official code",
    "paper": "exact from the paper",
    "secondary": "from a secondary source",
    "reconstruction": "reconstruction: the mechanism is the paper's, the form is ours",
    "own": "your own method",
}


@dataclass(frozen=True)
class Method:
    """A federated LoRA method: where it comes from, and its ingredient for each stage of a round (plain averaging by default)."""

    title: str
    paper: str = ""
    authors: str = ""
    year: int = 0
    idea: str = ""
    formula: str = ""
    provenance: str = "own"  # a key of PROVENANCE
    note: str = ""  # what a reader must know to trust the row: the choice of form, the extension to mixed ranks
    choices: tuple[str, ...] = ()  # what is ours where the source is silent
    cost: str = ""
    initialise: str = "random"
    sharing: str = "both"
    objective: str = "cross-entropy"
    correction: str = "none"
    upload: str = "as-is"
    weighting: str = "samples"
    aggregate: str = "mean"
    server: str = "take"
    options: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the first one is the default

    @property
    def ingredients(self) -> dict[str, str]:
        """The ingredient's key for each stage."""
        return {stage: getattr(self, stage) for stage in STAGES}


@dataclass(frozen=True)
class Recipe:
    """A method made definite: one ingredient for each stage, every option with its value, and the scaling."""

    ingredients: Mapping[str, str]
    options: Mapping[str, Any]
    scaling: Scaling

    def make(self, stage: str, setting: Any = None) -> Any:
        """The ingredient of `stage` with its options in place: the function, or an instance made from the run's `setting`."""
        ingredient = INGREDIENTS[stage][self.ingredients[stage]]
        own = {name: self.options[name] for name in ingredient.options}
        source = ingredient.load()
        return source(setting, **own) if isinstance(source, type) else partial(source, **own)


METHODS: dict[str, Method] = {
    "ilora": Method(
        title="ILoRA",
        paper="arXiv:2511.16069",
        authors="Zhou, Liu, Shang",
        year=2025,
        idea="Start in nested subspaces of the pretrained weight, aggregate by stacking and QR, correct drift.",
        formula=r"\theta_0=QR,\;B_k^0=Q_{:,1:r_k},\;A_k^0=R_{1:r_k,:};"
        r"\qquad \sum_kp_k\,\Delta W_k=QR,\;B^{(r)}=Q_{:,1:r},\;A^{(r)}=R_{1:r,:};"
        r"\qquad g\leftarrow g+(\mathrm{trunc}_{r_k}(c)-c_k)",
        provenance="code",
        note="The default mode, corrected, is the paper's algorithm with its bookkeeping right: it aggregates what was learned."
        " The modes official (the authors' code, literally) and paper stand beside it; both move the model without learning.",
        cost="r_k (d_in + d_out) floats up and down, twice that with control variates; one extra pass over the local data",
        initialise="qr",
        correction="control-variates",
        aggregate="concat-qr",
        modes={
            "corrected": {},
            "paper": {"scaling": 1.0, "residual": "plain", "deltas": False, "control_scale": "official"},
            "official": {"scaling": "16/r", "residual": "plain", "rescale": True, "deltas": False, "control_scale": "official"},
        },
    ),
    "fedit": Method(
        title="FedIT",
        paper="arXiv:2305.05644",
        authors="Zhang et al.",
        year=2023,
        idea="Federated averaging of A and of B, each for itself.",
        formula=r"A=\sum_kp_k\,\mathrm{pad}(A_k),\quad B=\sum_kp_k\,\mathrm{pad}(B_k)",
        provenance="code",
        note="Mixed ranks are not part of the paper: zero padding is the usual extension.",
        cost="r_k (d_in + d_out) floats up and down",
    ),
    "flora": Method(
        title="FLoRA",
        paper="arXiv:2409.05976",
        authors="Wang et al.",
        year=2024,
        idea="Stack all factors, merge the stack into everyone's base, and start fresh adapters each round.",
        formula=r"W\leftarrow W+s\begin{bmatrix}B_1&\cdots&B_K\end{bmatrix}\begin{bmatrix}p_1A_1\\ \vdots\\ p_KA_K\end{bmatrix}",
        provenance="code",
        note="Needs a scaling that does not depend on the rank.",
        cost="r_k (d_in + d_out) floats up, the whole stack, rho (d_in + d_out), down",
        initialise="fresh",
        aggregate="stack",
    ),
    "flexlora": Method(
        title="FlexLoRA",
        paper="arXiv:2402.11505",
        authors="Bai et al.",
        year=2024,
        idea="Sum the updates exactly and give each client the truncated SVD that fits its rank.",
        formula=r"\sum_kp_ks_kB_kA_k=U\Sigma V^\top,\quad A=V_{:,1:r}^\top,\quad B=\tfrac1{s}U_{:,1:r}\Sigma_{1:r}",
        provenance="code",
        cost="r_k (d_in + d_out) floats up and down",
        aggregate="svd",
    ),
}


def register_method(key: str, method: Method, **ingredients: Callable[..., Any] | Ingredient) -> None:
    """Add a method under `key`; a keyword such as `aggregate=function` brings its own ingredient for that stage."""
    if key in METHODS:
        raise ValueError(f"method {key!r} exists already; choose another key.")
    for stage, source in ingredients.items():
        if stage not in INGREDIENTS:
            raise ValueError(f"stage {stage!r} does not exist; allowed are {', '.join(STAGES)}.")
        own = source if isinstance(source, Ingredient) else Ingredient(method.title, (source.__doc__ or "").strip(), source)
        INGREDIENTS[stage][key] = own
    keys: dict[str, Any] = dict.fromkeys(ingredients, key)
    METHODS[key] = replace(method, **keys)


def resolve(method: str, options: Mapping[str, Any], scaling: float | str | None = None) -> Recipe:
    """The recipe of a method under a user's options.

    An option is `mode`, the name of a stage (it swaps that stage's ingredient) or an option of one of the ingredients.
    ValueError names whatever is unknown or not allowed.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}; allowed are {', '.join(METHODS)}.")
    chosen = METHODS[method]
    mode = options.get("mode", next(iter(chosen.modes), ""))
    if "mode" in options and mode not in chosen.modes:
        allowed = f"allowed are {', '.join(chosen.modes)}" if chosen.modes else "this method has no modes"
        raise ValueError(f"option mode of method {method} is {mode!r}; {allowed}.")
    settings = {**chosen.options, **chosen.modes.get(mode, {}), **options}
    settings.pop("mode", None)
    own_scaling = settings.pop("scaling", 1.0)
    ingredients = {stage: settings.pop(stage, key) for stage, key in chosen.ingredients.items()}
    for stage, key in ingredients.items():
        if key not in INGREDIENTS[stage]:
            raise ValueError(f"option {stage} is {key!r}; allowed are {', '.join(INGREDIENTS[stage])}.")
    known = options_of(ingredients)
    values = {name: known[name].check(name, settings[name]) if name in settings else known[name].default for name in known}
    for name in options:
        if name != "mode" and name not in known and name not in STAGES:
            raise ValueError(
                f"option {name!r} is unknown to method {method}; allowed are {', '.join(['mode', *STAGES, *known])}."
            )
    return Recipe(ingredients, values, Scaling.parse(own_scaling if scaling is None else scaling))


def options_of(ingredients: Mapping[str, str]) -> dict[str, Option]:
    """All options of the chosen ingredients, by name."""
    return {name: option for stage, key in ingredients.items() for name, option in INGREDIENTS[stage][key].options.items()}

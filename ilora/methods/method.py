"""Method: a recipe that names an ingredient for each stage in which it differs from plain federated averaging."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ilora.methods.ingredients import INGREDIENTS, STAGES

PROVENANCE = {
    "code": "exact from official code",
    "paper": "exact from the paper",
    "secondary": "from a secondary source",
    "reconstruction": "reconstruction: the mechanism is the paper's, the form is ours",
    "corrected": "the paper's algorithm, its bookkeeping corrected by us",
    "ours": "ours: not in the paper",
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
    source: str = ""  # "owner/repository@commit:path:function" of the authors, "third-party code: ...", or "paper only"
    note: str = ""  # what a reader must know to trust the row: the choice of form, the extension to mixed ranks
    choices: tuple[str, ...] = ()  # what is ours where the source is silent, and where we depart from it
    cost: str = ""
    initialise: str = "random"
    sharing: str = "both"
    objective: str = "cross-entropy"
    correction: str = "none"
    upload: str = "as-is"
    weighting: str = "samples"
    aggregate: str = "mean"
    server: str = "take"
    learns_from_reward: bool = False  # so it stands in no ranking with methods that learn from labels
    options: Mapping[str, Any] = field(default_factory=dict)
    modes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the first one is the default

    def provenance_of(self, mode: str = "") -> str:
        """The key of PROVENANCE of one mode, the default one if none is named."""
        chosen = self.modes.get(mode or next(iter(self.modes), ""), {})
        return str(chosen.get("provenance", self.provenance))

    @property
    def ingredients(self) -> dict[str, str]:
        """The ingredient's key for each stage."""
        return {stage: getattr(self, stage) for stage in STAGES}

    @property
    def needed_skew(self) -> str:
        """The skew without which the method has nothing to do; "" where it takes any."""
        return INGREDIENTS["sharing"][self.sharing].skew

    @property
    def personalised(self) -> bool:
        """Whether parts of the model stay with the clients, so that there is no global one."""
        return INGREDIENTS["sharing"][self.sharing].personalised

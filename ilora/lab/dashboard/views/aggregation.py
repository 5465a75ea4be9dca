"""Trying aggregation rules: on made-up clients that follow sliders, and on the factors of a real round. No training.

The rules need torch, which the app does without elsewhere: it is imported when this page first computes.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import streamlit as st

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.captions import rules
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.catalogue import RULES_READING, uploads_of
from ilora.lab.dashboard.charts.view import Reading, View

if TYPE_CHECKING:
    from ilora.lab.analysis.rule_comparison import Outcome, Uploads

DIMENSION, SEED = 128, 0
RANKS = (1, 2, 3, 4, 6, 8, 12)
CUTS_READING = Reading(
    "The ideal update is factorised in three ways, and only the first slots are kept. The SVD is the best there can be for every"
    " number of slots; a plain QR takes the columns in the order in which they stand, a pivoted one the largest first.",
    r"\Delta W^*\approx Q_{:,1:r}R_{1:r,:},\qquad\Delta W^*\approx U_{:,1:r}\Sigma_{1:r}V_{:,1:r}^\top",
    ("ilora.lora.low_rank:qr", "ilora.lora.low_rank:pivoted_qr", "ilora.lab.analysis.rule_comparison:truncation_errors"),
)


class Shape(NamedTuple):
    """What the sliders say of the made-up clients."""

    clients: int
    smallest: int
    largest: int
    decay: float
    overlap: float
    rotation: float
    noise: float

    @property
    def ranks(self) -> tuple[int, ...]:
        """From the smallest to the largest, in turn over the clients."""
        steps = [rank for rank in RANKS if self.smallest <= rank <= self.largest]
        few = [steps[round(k * (len(steps) - 1) / max(1, self.clients - 1))] for k in range(self.clients)]
        return tuple(few)


class Tried(NamedTuple):
    """All that the page shows of one set of uploads."""

    outcomes: "list[Outcome]"
    cuts: dict[str, list[float]]
    ranks: tuple[int, ...]


@st.fragment
def made_up() -> None:
    """Sliders, and what every rule makes of the clients that they describe."""
    left, right = st.columns([1, 2], gap="large")
    with left:
        shape = _sliders()
        st.caption(rules.rotation(shape.rotation))
    with right:
        show(try_made_up(shape))


def _sliders() -> Shape:
    slider = st.slider
    clients = slider("Clients", 2, 8, 4, key="try.clients")
    low, high = st.select_slider(
        "Ranks, from the smallest to the largest",
        RANKS,
        (2, 8),
        key="try.ranks",
        help="Clients get the ranks in between in turn.",
    )
    overlap = slider(
        "Overlap of the clients' subspaces",
        0.0,
        1.0,
        0.3,
        0.05,
        key="try.overlap",
        help="1: the same directions. 0: none shared.",
    )
    rotation = slider(
        "Inner rotation",
        0.0,
        1.0,
        0.0,
        0.05,
        key="try.rotation",
        help="Turns each client's slots among themselves. Its update BA stays exactly the same.",
    )
    decay = slider(
        "Spectrum decay",
        0.3,
        1.0,
        0.7,
        0.05,
        key="try.decay",
        help="Each direction is this many times as strong as the one before. 1: all alike.",
    )
    noise = slider("Noise", 0.0, 1.0, 0.0, 0.05, key="try.noise", help="Random numbers on A and B, as a share of their length.")
    return Shape(clients, low, high, decay, overlap, rotation, noise)


@st.cache_data(show_spinner="Trying every rule …", max_entries=512)
def try_made_up(shape: Shape) -> Tried:
    """Every rule on made-up clients."""
    from ilora.lab.analysis.rule_comparison import Uploads, equal_weights
    from ilora.lab.analysis.synthetic_clients import make_clients

    factors = make_clients(
        shape.ranks,
        DIMENSION,
        decay=shape.decay,
        overlap=shape.overlap,
        rotation=shape.rotation,
        noise=shape.noise,
        seed=SEED,
    )
    return _tried(Uploads(list(factors), equal_weights(factors)), shape.ranks)


def from_run(view: View) -> None:
    """What every rule would have made of the factors that a real round's clients sent."""
    try:
        uploads = uploads_of(view)
    except FieldError as error:
        st.info(str(error))
        return
    ranks = tuple(len(A) for A, _ in uploads.factors)
    own = view.run.experiment.recipe.ingredients["aggregate"]
    show(_tried_run(view.run.id, view.at, view.layer, uploads, view.run.experiment, ranks), own)


@st.cache_data(show_spinner=False, max_entries=512)
def _tried_run(run: str, at: int, layer: str, _uploads: "Uploads", _own: Experiment, ranks: tuple[int, ...]) -> Tried:
    return _tried(_uploads, ranks, _own)


def _tried(uploads: "Uploads", ranks: Sequence[int], own: Experiment | None = None) -> Tried:
    from ilora.lab.analysis import rule_comparison

    most = min(sum(ranks), 2 * max(ranks))
    return Tried(
        rule_comparison.compare_rules(uploads, own),
        rule_comparison.truncation_errors(rule_comparison.ideal_update(uploads), most),
        tuple(ranks),
    )


def show(tried: Tried, own: str = "") -> None:
    """The two pictures of one set of uploads."""
    outcomes, cuts, ranks = tried
    figure, sentence = figures.rule_errors(outcomes, own), rules.rules(outcomes, ranks, own)
    draw("rules", "What every rule loses", figure, sentence, RULES_READING)
    figure = figures.truncation(cuts, max(ranks), min(ranks))
    draw("cuts", "Three ways to cut the rank", figure, rules.truncation(cuts, max(ranks), min(ranks)), CUTS_READING)

"""Who holds what: the partition of a run, or of settings that are moved, drawn at once and without training."""

import numpy as np
import streamlit as st

from ilora.checks import FieldError
from ilora.clients.partition import Dealt
from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.analysis.shown_samples import BY_BACKBONE, Shown, read
from ilora.lab.captions import data as captions
from ilora.lab.content import data_preview
from ilora.lab.content.glossary import explain
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.catalogue import CHARTS
from ilora.lab.dashboard.charts.sample_pictures import cards
from ilora.lab.dashboard.charts.view import Reading, View
from ilora.lab.dashboard.controls.experiment_form import ALPHAS, CURRENT, PROFILES, SKEW_NAMES
from ilora.lab.dashboard.controls.form_field import plain
from ilora.records import RunFacts
from ilora.tasks import TASKS

MORE_RANKS = {name: title for name, title in PROFILES.items() if name != "list"}
SIZES_READING = Reading(
    "One bar per client. A client with more samples counts more when the server averages, unless the method weighs otherwise.",
    r"p_k=\frac{n_k}{\sum_jn_j}",
    ("ilora.clients.partition:partition",),
)
CLASSES_READING = Reading(
    "Circles count every class of which a client holds at least one sample. Diamonds count a rare class less: a client with 99"
    " samples of one class and 1 of another really sees one.",
    r"\exp\Big(-\sum_cq_{k,c}\log q_{k,c}\Big)",
    ("ilora.lab.content.data_preview:effective_classes",),
)


@st.fragment
def try_it() -> None:
    """Controls, and who would hold what; nothing is trained."""
    experiment = _controls()
    if found := _read(experiment):
        shown, held = found
        facts = data_preview.facts_of(experiment, held)
        show(facts, experiment)
        cards(facts, held, shown)


def of_run(view: View) -> None:
    """Who holds what in a stored run, and samples of it where its files are at hand and still the same."""
    show(view.facts, view.run.experiment)
    if not (found := _read(view.run.experiment)):
        return
    shown, held = found
    if np.array_equal(held.counts, view.facts.class_counts):
        cards(view.facts, held, shown)
    else:
        st.info("The samples that lie here now are not those of this run, so none are shown.", icon=":material/info:")


def show(facts: RunFacts, experiment: Experiment) -> None:
    """The charts of one partition."""
    effective = data_preview.effective_classes(facts.class_counts)
    sentence = captions.classes(facts, effective)
    draw("data.client-data", "Who holds what", figures.client_data(facts), captions.client_data(facts), CHARTS["client-data"])
    if TASKS[experiment.task].regression:
        st.caption("The labels are numbers. Classes here are bins of the number that hold about equally many samples each.")
    left, right = st.columns(2)
    with left:
        figure = figures.classes_seen(facts, effective)
        draw("data.classes", "How many classes each client sees", figure, sentence, CLASSES_READING)
    with right:
        draw("data.sizes", "How many samples each client has", figures.sizes(facts), captions.sizes(facts), SIZES_READING)


def _read(experiment: Experiment) -> tuple[Shown, Dealt] | None:
    """The task's samples and who holds them; None, and a sentence on the page, where they cannot be read."""
    try:
        with st.spinner("Reading the samples, once"):
            shown = read(experiment.task, experiment.backbone, experiment.data)
        return shown, data_preview.dealt(experiment, shown)
    except FieldError as error:
        st.info(plain(str(error)), icon=":material/info:")
        return None


def _controls() -> Experiment:
    """The settings that decide who holds what; at first those of the playground."""
    start: Experiment = st.session_state.get(CURRENT) or Experiment()
    with st.grid("auto", min_column_width=220, gap="medium"):
        task = _select("task", "Task", {name: card.title for name, card in TASKS.items()}, start.task, explain("task"))
        card, same = TASKS[task], task == start.task
        backbone = start.backbone if same else card.backbone
        if task in BY_BACKBONE:
            titles = {name: known.title for name, known in card.backbones.items()}
            titles.setdefault(backbone, backbone)
            backbone = _select("backbone", "Backbone", titles, backbone, explain("backbone"))
        folder = _folder(start.data if same else "") if card.download else ""
        clients = st.slider("Clients", 1, 40, min(40, start.clients or 8), key="data.clients", help=explain("client"))
        skews = {name: words for name, words in SKEW_NAMES.items() if name != "attribute" or card.styles}
        skew = _select("skew", "Who holds what", skews, start.skew, explain("skew"))
        alpha = _alpha(start.alpha) if skew in ("label", "quantity") else start.alpha
        shards = st.slider("Shards per client", 1, 10, 2, key="data.shards", help=explain("shards")) if skew == "shards" else 2
        seed = st.number_input("Seed", 0, 2**31 - 1, start.seed, key="data.seed", help=explain("seed"))
        ranks = _select("ranks", "Ranks", MORE_RANKS, "spread", explain("ranks"))
    return Experiment(
        task=task, backbone=backbone, data=folder, clients=clients, skew=skew, alpha=alpha, shards=shards, seed=seed, ranks=ranks
    )


def _select(name: str, label: str, titles: dict[str, str], first: str, about: str) -> str:
    """A choice among titles; what was chosen before stays while it is still offered."""
    key, offered = f"data.{name}", list(titles)
    if st.session_state.get(key) not in offered:
        st.session_state[key] = first if first in offered else offered[0]
    return str(st.selectbox(label, offered, key=key, format_func=lambda value: titles.get(value, value), help=about))


def _folder(first: str) -> str:
    """Where the task's files lie."""
    st.session_state.setdefault("data.folder", first)
    return st.text_input("Data folder", key="data.folder", placeholder="the cache", max_chars=500, help=explain("data")).strip()


def _alpha(first: float) -> float:
    near = min(ALPHAS, key=lambda value: abs(value - first))
    return st.select_slider("Dirichlet α", ALPHAS, near, key="data.alpha", help=explain("alpha"), format_func="{:g}".format)

"""Who holds what: the partition of a run, or of settings that are moved, drawn at once and without training."""

import streamlit as st

from ilora import figures, samples, sentences_inside
from ilora.dashboard.blocks import draw
from ilora.dashboard.charts import CHARTS
from ilora.dashboard.form import ALPHAS, CURRENT, PROFILES, SKEW_NAMES
from ilora.dashboard.glossary import explain
from ilora.dashboard.view import Reading, View
from ilora.experiment import Experiment
from ilora.records import RunFacts
from ilora.samples import Holdings
from ilora.sentences import holdings as holdings_sentence

PICTURES, MOST_ROWS = 10, 12
MORE_RANKS = {name: title for name, title in PROFILES.items() if name != "list"}
SIZES_READING = Reading(
    "One bar per client. A client with more samples counts more when the server averages, unless the method weighs otherwise.",
    r"p_k=\frac{n_k}{\sum_jn_j}",
    ("ilora.partition:partition",),
)
CLASSES_READING = Reading(
    "Circles count every class of which a client holds at least one sample. Diamonds count a rare class less: a client with 99"
    " samples of one class and 1 of another really sees one.",
    r"\exp\Big(-\sum_cq_{k,c}\log q_{k,c}\Big)",
    ("ilora.samples:entropy",),
)
PICTURES_READING = Reading(
    "Real training samples of each client, sorted by class and spread over all that it holds. Where the skew is in the looks, the"
    " change of looks happens in training and is not drawn here.",
    "",
    ("ilora.samples:some_of",),
)


@st.fragment
def try_it() -> None:
    """Controls, and who would hold what; nothing is trained."""
    experiment = _controls()
    held = samples.holdings(experiment)
    if held is None:
        st.info("The samples of this task are not kept with the program.")
        return
    show(samples.facts_of(experiment, held), experiment, held)


def of_run(view: View) -> None:
    """Who holds what in a stored run."""
    show(view.facts, view.run.experiment, samples.holdings(view.run.experiment))


def _controls() -> Experiment:
    """The settings that decide who holds what; at first those of the playground."""
    start: Experiment = st.session_state.get(CURRENT) or Experiment()
    with st.grid("auto", min_column_width=220, gap="medium"):
        clients = st.slider("Clients", 1, 40, min(40, start.clients or 8), key="data.clients")
        skews = [name for name in SKEW_NAMES if name != "attribute"]
        own = start.skew if start.skew in skews else "label"
        skew = st.selectbox("Who holds what", skews, skews.index(own), key="data.skew", format_func=SKEW_NAMES.__getitem__)
        if skew in ("label", "quantity"):
            near = min(ALPHAS, key=lambda value: abs(value - start.alpha))
            alpha = st.select_slider(
                "Dirichlet α", ALPHAS, near, key="data.alpha", help=explain("alpha"), format_func="{:g}".format
            )
        else:
            alpha = start.alpha
        shards = st.slider("Shards per client", 1, 10, 2, key="data.shards", help=explain("shards")) if skew == "shards" else 2
        seed = st.number_input("Seed", 0, 2**31 - 1, start.seed, key="data.seed", help=explain("seed"))
        ranks = st.selectbox("Ranks", list(MORE_RANKS), key="data.ranks", format_func=MORE_RANKS.__getitem__)
    return Experiment(clients=clients, skew=skew, alpha=alpha, shards=shards, seed=seed, ranks=ranks)


def show(facts: RunFacts, experiment: Experiment, held: Holdings | None) -> None:
    """The charts of one partition."""
    effective = samples.entropy(facts.class_counts)
    sentence = sentences_inside.classes(facts, effective)
    draw("data.holdings", "Who holds what", figures.holdings(facts), holdings_sentence(facts), CHARTS["holdings"])
    left, right = st.columns(2)
    with left:
        draw(
            "data.classes", "How many classes each client sees", figures.classes_seen(facts, effective), sentence, CLASSES_READING
        )
    with right:
        draw("data.sizes", "How many samples each client has", figures.sizes(facts), sentences_inside.sizes(facts), SIZES_READING)
    kept = samples.samples_of(experiment.task)
    if held is None or kept is None:
        st.caption("Sample pictures of this task are not kept with the program.")
        return
    pictures = [samples.some_of(kept, share, PICTURES) for share in held.shares[:MOST_ROWS]]
    figure = figures.picture_sheet(pictures, list(facts.ranks[:MOST_ROWS]))
    draw("data.pictures", "What it looks like", figure, sentences_inside.pictures(facts, len(pictures)), PICTURES_READING)

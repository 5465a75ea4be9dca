"""The blocks of the page on uncertainty: reliability, measures over the rounds, the ensemble, and the branches of DFL."""

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ilora.checks import FieldError
from ilora.lab import figures
from ilora.lab.captions import calibration
from ilora.lab.captions.words import client_name
from ilora.lab.content.data_preview import address, tested_text
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.sample_pictures import show_text
from ilora.lab.dashboard.charts.view import Reading, View
from ilora.lab.dashboard.controls.form_field import plain
from ilora.records import SCORE
from ilora.tasks import TASKS

READ_RELIABILITY = (
    "Answers are sorted by how sure the model is of them. A bar is the share of them that is right. On the dotted diagonal"
    " a model is right exactly as often as it says: bars under it mean too sure, bars above it not sure enough. The grey"
    " gap is what is missing."
)
READ_ENSEMBLE = (
    "One row is one model's probabilities for this sample, the last row their mean. Rows that differ mean that the models"
    " disagree: that doubt would shrink with more data. Rows that are alike and pale mean that the sample itself is unclear."
)
READ_BRANCHES = (
    "Each point is one training sample of one client, seen through one branch of DFL alone. The shared branch should sort by"
    " class and mix the clients; the private one may sort by client."
)
ECE = r"\mathrm{ECE}=\sum_b\tfrac{n_b}{n}\,\lvert\mathrm{acc}_b-\mathrm{conf}_b\rvert"
SPLIT = r"H[\bar p]=\tfrac1N\sum_iH[p_i]+\text{epistemic}"
MEASURES = {
    "calibration error": (
        "Calibration error",
        ECE,
        "The gap between how sure a model is and how often it is right, on average. 0 is honest.",
    ),
    "loss": ("Loss", r"-\tfrac1n\sum_i\log\bar p(y_i)", "How surprised a model is by the right answer."),
}


def page(view: View) -> None:
    """All that a round's record says of calibration."""
    bins = calibration.bins_of(view.record)
    if not bins:
        st.info(
            "This round keeps no probabilities: its run is older than this page, or its task's labels are numbers."
            " Run one in the Playground.",
            icon=":material/info:",
        )
        return
    for column, (who, own) in zip(_columns(len(bins)), bins.items(), strict=True):
        with column:
            title = calibration.WHO[who][0].upper() + calibration.WHO[who][1:]
            about = Reading(
                READ_RELIABILITY,
                ECE,
                ("ilora.simulation.calibration:reliability", "ilora.simulation.calibration:calibration_error"),
            )
            draw(f"reliability.{who}", title, figures.reliability(own, who), calibration.reliability(own, who, view.at), about)
    if "clients" in bins:
        st.caption(
            "The clients together are the round's trained models before merging, asked as if they were an ensemble: it costs no"
            " training, and shows what averaging changes. It is not LoRA-Ensemble, whose members are each merged separately."
        )
    elif "client" in bins:
        st.caption("The only client is the model that one client trained in this round, before the server made its own of it.")
    over_rounds(view)
    ensemble(view)
    branches(view)


def _columns(count: int) -> list[DeltaGenerator]:
    """A place for each picture: three fit beside each other, four stand two by two."""
    return [*st.columns(2), *st.columns(2)][:count] if count == 4 else st.columns(count)


def over_rounds(view: View) -> None:
    """Calibration and loss of every model, round by round."""
    for column, (measure, (title, formula, reading)) in zip(st.columns(len(MEASURES)), MEASURES.items(), strict=True):
        with column:
            figure = figures.calibration_over_rounds(view.history, measure, view.at, view.run.rounds)
            about = Reading(reading, formula, ("ilora.simulation.calibration:ensemble",))
            draw(f"uncertainty.{measure}", title, figure, calibration.lowest(view.history, measure, view.at), about)


def ensemble(view: View) -> None:
    """One test sample, and what everyone says of it."""
    kept = view.record.pictures
    offered = {
        who: name
        for who, name in (("members", "The ensemble's members"), ("clients", "The clients"))
        if f"{who}/probabilities" in kept
    }
    offered = {who: name for who, name in offered.items() if len(kept[f"{who}/probabilities"]) > 1}
    if not offered:
        return
    st.subheader("An ensemble on one sample")
    who = str(next(iter(offered)))
    if len(offered) > 1:
        who = st.segmented_control(
            "Who answers", list(offered), format_func=offered.__getitem__, default=who, required=True, key="uncertainty.who"
        )
    members, labels = kept[f"{who}/probabilities"].astype(float), kept["labels"]
    order = calibration.most_disputed(members)
    place = st.slider(
        "Test sample, from the most disputed to the clearest", 1, len(order), 1, key="uncertainty.sample",
        help="Sorted by how much of the doubt is between the models.",
    )  # fmt: skip
    sample = order[min(place, len(order)) - 1]
    if TASKS[view.run.experiment.task].kind == "text":
        show_sentence(view, sample)
        strip = st.container()
    else:
        picture, strip = st.columns([1, 4], vertical_alignment="center")
        with picture:
            show_image(view, sample)
    with strip:
        if who == "clients" and len(members) < (present := len(view.record.clients["id"])):
            st.caption(f"The run keeps the answers of the first {len(members)} of {present} clients.")
        names = seats(view, who, len(members))
        figure = figures.ensemble(members, sample, names, view.facts.classes, int(labels[sample]))
        said = calibration.ensemble(members, labels, sample, view.facts.classes, who)
        about = Reading(
            READ_ENSEMBLE, SPLIT, ("ilora.simulation.calibration:epistemic", "ilora.simulation.calibration:disagreement")
        )
        draw("ensemble", "Who says what", figure, said, about)


def seats(view: View, who: str, count: int) -> list[str]:
    """The names of the ensemble's members."""
    if who == "members":
        return [f"member {i + 1}" for i in range(count)]
    clients = view.record.clients
    return [client_name(clients["id"][k], clients["rank"][k]) for k in range(count)]


def show_sentence(view: View, sample: int) -> None:
    """The sentence of the sample, or its pair, where the task's files are at hand."""
    with st.container(border=True, key="uncertainty.sentence"):
        try:
            said = tested_text(view.run.experiment, view.facts.styles, sample)
        except FieldError as error:
            st.caption(plain(f"The sentence cannot be shown. {error}"))
            return
        st.caption(f"Test sample {sample + 1}")
        show_text(said)


def show_image(view: View, sample: int) -> None:
    """The sample itself, where the run keeps small images of it."""
    first = view.record if view.at == 1 else data_access.load_round(view.run, 1)
    images = None if first is None else first.pictures.get("images")
    if images is None or sample >= len(images):
        st.caption("The run keeps no image of this sample.")
        return
    pixels = np.moveaxis(images[sample], 0, -1)
    pixels = np.repeat(pixels, 3, -1) if pixels.shape[-1] == 1 else pixels
    large = np.kron(pixels, np.ones((max(1, 160 // pixels.shape[0]),) * 2 + (1,), dtype=np.uint8))
    st.image(address(large), caption=f"test sample {sample + 1}", alt=f"Test sample {sample + 1}", width=160)


def branches(view: View) -> None:
    """What DFL's two branches know of the class and of the client."""
    kept, column = view.record.pictures, f"{SCORE}client guessed from shared features"
    if "shared/points" not in kept or column not in view.history:
        return
    st.subheader("Two branches: does one know the class, the other the client?")
    clients = view.record.clients
    names = [client_name(clients["id"][k], clients["rank"][k]) for k in range(len(clients["id"]))]
    owner = np.broadcast_to(np.arange(len(names))[:, None], kept["points/labels"].shape)
    about = Reading(READ_BRANCHES, sources=("ilora.stages.features:principal_plane",))
    left, middle, right = st.columns(3)
    with left:
        said = calibration.branch(kept["shared/points"], kept["points/labels"], "shared", "classes")
        figure = figures.branch(kept["shared/points"], kept["points/labels"], view.facts.classes)
        draw("branch.shared", "Shared branch, by class", figure, said, about)
    with middle:
        said = calibration.branch(kept["private/points"], owner, "private", "clients")
        figure = figures.branch(kept["private/points"], owner, names)
        draw("branch.private", "Private branch, by client", figure, said, about)
    with right:
        figure = figures.probe(view.history, len(names), view.at, view.run.rounds)
        about = Reading(
            "A linear probe learns from half of the features which client they come from, and is asked about the other half."
            " Near chance means that a branch does not give the client away.",
            sources=("ilora.stages.features:guessed",),
        )
        draw("branch.probe", "Can one guess the client?", figure, calibration.probe(view.history, view.at, len(names)), about)

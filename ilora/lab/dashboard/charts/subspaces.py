"""The charts that need a round's factors or a layer's record over all rounds: directions, paths, collapse."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from ilora.lab import figures
from ilora.lab.analysis import subspaces
from ilora.lab.analysis.subspaces import Paths, Planes, Product
from ilora.lab.captions import subspaces as captions
from ilora.lab.captions.words import client_name
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.view import Chart, View
from ilora.lab.runs.store import Run
from ilora.records import Array

CLIENT = "subspaces.client"
WINDOW = 30  # rounds that share one plane
MOST_CLIENTS = 16  # whose paths are drawn
SIDES = {"columns": 0, "rows": 2}  # of U, S, V


def slots(view: View) -> list[int]:
    """How many slots each client of the round holds, as far as its factors are kept."""
    kept = view.factors["start/A"]
    ranks = [int(rank) for rank in view.record.clients["rank"][: len(kept)]]
    return [kept.shape[1]] * len(ranks) if view.run.experiment.recipe.whole else ranks


def labels(view: View) -> list[str]:
    """The clients whose factors are kept."""
    ids = view.record.clients["id"][: len(view.factors["start/A"])]
    return [client_name(identity, rank) for identity, rank in zip(ids, view.record.clients["rank"], strict=False)]


def moves(run: Run, at: int, layer: str, ranks: Sequence[int]) -> list[Product]:
    """The movements of a round's clients."""
    scaling = run.experiment.recipe.scaling
    return subspaces.movements(data_access.factors(run, at, layer), ranks, [scaling(rank) for rank in ranks])


def spaces(view: View) -> list[Array]:
    """The directions of every client's movement, on the side that is looked at; only clients that moved."""
    own = slots(view)
    found = [subspaces.directions(move, rank) for move, rank in zip(moves(view.run, view.at, view.layer, own), own, strict=True)]
    return [parts[SIDES[view.side]] for parts in found]


def ideal_space(view: View) -> Array:
    """The directions of the weighted mean movement."""
    own = slots(view)
    weights = view.record.clients["weight"][: len(own)]
    parts = moves(view.run, view.at, view.layer, own)
    mean = (np.concatenate([w * A for w, (A, _) in zip(weights, parts, strict=True)]), np.concatenate([B for _, B in parts], 1))
    if len(mean[0]) > min(mean[0].shape[1], mean[1].shape[0]):
        mean = (np.eye(mean[0].shape[1]), mean[1] @ mean[0])
    return subspaces.directions(mean, max(own))[SIDES[view.side]]


def chosen_client(view: View) -> int:
    """The place of the client that the spectrum is drawn for; the one of the smallest rank at first."""
    chosen = st.session_state.get(CLIENT)
    ids = [int(identity) for identity in view.record.clients["id"][: len(slots(view))]]
    return ids.index(chosen) if chosen in ids else int(np.argmin(slots(view)))


def spectra(view: View) -> tuple[dict[str, Array], list[int], Array, Array]:
    """The chosen client's angles to each other client, their ranks, and its angles by chance and to the mean movement."""
    found, names, own, k = spaces(view), labels(view), slots(view), chosen_client(view)
    others = [j for j in range(len(found)) if j != k]
    mean = ideal_space(view)
    dimension = len(found[k])
    angles = {names[j]: subspaces.principal_angles(found[k], found[j]) for j in others}
    partner = max((own[j] for j in others), default=own[k])
    chance = subspaces.chance_angles(min(own[k], dimension), min(partner, dimension), dimension)
    return angles, [own[j] for j in others], chance, subspaces.principal_angles(found[k], mean)


def spectra_sentence(view: View) -> str:
    """What the chosen client's angles say."""
    angles, _, chance, _ = spectra(view)
    return captions.angle_spectrum(labels(view)[chosen_client(view)], angles, chance)


def common_planes(view: View) -> Planes:
    """The clients' planes in three common directions."""
    return subspaces.common_planes(spaces(view))


def paths(view: View) -> Paths:
    """Server and clients in the plane of the rounds around the one that is looked at."""
    first = (view.at - 1) // WINDOW * WINDOW + 1
    return _paths(view.run.id, view.layer, first, min(view.run.done, first + WINDOW - 1))


@st.cache_resource(show_spinner="Looking for the common plane …", max_entries=64)
def _paths(run_id: str, layer: str, first: int, last: int) -> Paths:
    run = data_access.find(run_id)
    if run is None:
        raise ValueError(f"run {run_id} does not exist.")
    rounds = [t for t in range(first, last + 1) if "whole/A" in data_access.factors(run, t, layer)]
    wholes = [_whole(run, t, layer) for t in rounds]
    before = data_access.factors(run, first - 1, layer) if first > 1 else {}
    nowhere = (np.zeros_like(wholes[0][0][:1]), np.zeros_like(wholes[0][1][:, :1]))
    origin = _whole(run, first - 1, layer) if "whole/A" in before else nowhere
    return subspaces.common_plane(rounds, [origin, *wholes], [_round_moves(run, t, layer) for t in rounds])


def _whole(run: Run, at: int, layer: str) -> Product:
    kept = data_access.factors(run, at, layer)
    return kept["whole/A"].astype(float), kept["whole/B"].astype(float)


def _round_moves(run: Run, at: int, layer: str) -> list[Product]:
    """The movements of a round's first clients, thinned to the slots that they need."""
    record, kept = data_access.load_round(run, at), data_access.factors(run, at, layer)
    whole = run.experiment.recipe.whole
    ranks = [kept["start/A"].shape[1] if whole else int(rank) for rank in record.clients["rank"]] if record else []
    thin = []
    for move in moves(run, at, layer, ranks[: len(kept["start/A"])])[:MOST_CLIENTS]:
        U, S, V = subspaces.directions(move, len(move[0]))
        thin.append((V.T, U * S))
    return thin


def series(view: View) -> dict[str, Array]:
    """The layer's record over the rounds."""
    return data_access.layer_series(view.run, view.layer)


def smallest(view: View) -> int:
    """The smallest rank of the run's clients."""
    return int(min(view.facts.ranks))


DEPTH: dict[str, Chart] = {
    "angle-spectrum": Chart(
        "Principal angles, one by one",
        lambda view: figures.angle_spectrum(*spectra(view)),
        spectra_sentence,
        "Two subspaces have as many principal angles as the smaller has directions. The first is the angle between the two most"
        " similar directions, the next between the most similar ones at right angles to these, and so on. Near 0° a direction is"
        " shared. The dotted line is what random subspaces of this client's rank and the largest other rank would have.",
        r"\cos\theta_i=\sigma_i(Q_X^\top Q_Y)",
        ("ilora.lab.analysis.subspaces:principal_angles", "ilora.lab.analysis.subspaces:chance_angles"),
    ),
    "planes": Chart(
        "The clients' planes in space",
        lambda view: figures.planes(common_planes(view), labels(view), slots(view)),
        lambda view: captions.planes(common_planes(view), labels(view)),
        "Turn it by mouse or finger. Each tile is spanned by the two strongest directions of one client's movement, seen in"
        " the three directions that all clients share most. Tiles that lie in each other are clients that learn the same; a tile"
        " that looks small lies mostly outside of them.",
        r"P=\mathrm{top}_3\,\mathrm{SVD}\,[U_{1,:2}\cdots U_{K,:2}],\qquad U_{k,:2}^\top P",
        ("ilora.lab.analysis.subspaces:common_planes", "ilora.lab.analysis.subspaces:directions"),
    ),
    "paths": Chart(
        "Where server and clients go",
        lambda view: figures.paths(paths(view), view.at, slots(view)),
        lambda view: captions.paths(paths(view), view.at),
        "Every point is an update of this layer; near points are similar models. The blue line is the server, round by round."
        " The arrows are the clients' local training in the round that you look at, from where the server stood. What a client's"
        " rank could not receive is left out. The plane is the one that holds most of all distances.",
        r"G_t,\qquad G_{t-1}+D_{t,k},\qquad\langle BA,B'A'\rangle=\mathrm{tr}\big((B^\top B')(A'A^\top)\big)",
        ("ilora.lab.analysis.subspaces:common_plane", "ilora.lab.analysis.subspaces:movements"),
    ),
    "corrections": Chart(
        "What the control variates do",
        lambda view: figures.corrections(view.record),
        lambda view: captions.corrections(view.record),
        "One drawing per client, in the plane of its own gradient step and its control variate. Up is its own gradient step,"
        " drawn with length 1; the orange arrow is added, and green is what the client follows. Measured at the model that it"
        " received, over all trained numbers. At most 16 clients are drawn.",
        r"g_k\leftarrow g_k+(c-c_k)",
        ("ilora.stages.corrections:ControlVariates", "ilora.stages.corrections:steering"),
    ),
    "turned": Chart(
        "Towards the mean gradient",
        lambda view: figures.turned(view.record),
        lambda view: captions.turned(view.record),
        "The cosine between each client's gradient and the mean gradient of all clients of the round: before the correction, and"
        " after. Further right is more agreement.",
        r"\cos(g_k,\bar g)\;\rightarrow\;\cos(g_k+c-c_k,\bar g)",
        ("ilora.stages.corrections:steering",),
    ),
    "spectra-over-rounds": Chart(
        "Directions over the rounds",
        lambda view: figures.spectra_over_rounds(series(view), view.at, smallest(view)),
        lambda view: captions.spectra_over_rounds(series(view), view.at, smallest(view)),
        "Each column is a round, each row a direction of the update, the strongest at the top; the scale says how strong. Left"
        " what the clients learned together, right what the server broadcasts. Rank collapse: below the orange line, which is the"
        " smallest rank, the right picture fades from round to round and the left one does not.",
        r"\sigma_i(\Delta W^*),\qquad\sigma_i(G_{t+1})",
        ("ilora.simulation.recording:layer_record",),
    ),
    "energy": Chart(
        "What the smallest rank holds",
        lambda view: figures.energy_over_rounds(series(view), view.at, view.run.rounds),
        lambda view: captions.energy(series(view), view.at, smallest(view)),
        "The share of the update's squared length in as many directions as the smallest rank has. If the server's line climbs to"
        " 100 % and the ideal one does not, the larger clients' extra directions are lost.",
        r"\rho=\frac{\sum_{i\le r_{\min}}\sigma_i^2}{\sum_i\sigma_i^2}",
        ("ilora.diagnostics:energy_share",),
    ),
    "effective-ranks": Chart(
        "Effective rank over the rounds",
        lambda view: figures.effective_rank_over_rounds(series(view), view.at, view.run.rounds, smallest(view)),
        lambda view: captions.effective_ranks(series(view), view.at),
        "Effective rank: how many equally strong directions would be as spread out. The dashed line is the smallest rank.",
        r"r_{\mathrm{eff}}=\exp\Big(-\sum_i\hat\sigma_i\log\hat\sigma_i\Big)",
        ("ilora.diagnostics:effective_rank",),
    ),
    "coverage": Chart(
        "Who fills which slot",
        lambda view: figures.coverage(view.record.layers[view.layer], smallest(view)),
        lambda view: captions.coverage(view.record.layers[view.layer].coverage, smallest(view)),
        "A client of rank r trains the first r slots. A slot that few clients own is diluted wherever all clients are averaged,"
        " zeros included: this is how collapse begins. All clients have the green slots.",
        r"c_j=\sum_{k:\,r_k\ge j}p_k",
        ("ilora.diagnostics:coverage",),
    ),
}

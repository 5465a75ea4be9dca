"""The catalogue of charts: each with its figure, its sentence, how to read it, its formula and the code that computed it."""

from dataclasses import replace
from typing import TYPE_CHECKING

from ilora.lab import figures
from ilora.lab.analysis.measures import measure_of
from ilora.lab.captions import data, rounds
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.subspaces import DEPTH
from ilora.lab.dashboard.charts.view import Chart, Reading, View
from ilora.methods import Recipe
from ilora.records import SCORE, main_score
from ilora.tasks import TASKS

if TYPE_CHECKING:
    from ilora.lab.analysis.rule_comparison import Uploads

__all__ = ["BY_LAYER", "CHARTS", "SECTIONS", "Chart", "View", "reading"]

RULES_READING = Reading(
    "Every bar is one way in which a server can turn the clients' factors into one update; its length is how far that update is"
    " from the ideal one, the average of the clients' updates. The diamond is the same for the client of the smallest rank,"
    " after the broadcast: it can hold only its first slots. Rules that average changes since the broadcast are excluded: one"
    " upload does not show a change.",
    r"\sum_kp_kB_kA_k\ne\Big(\sum_kp_kB_k\Big)\Big(\sum_kp_kA_k\Big)"
    r",\qquad\frac{\lVert G-\Delta W^*\rVert_F}{\lVert\Delta W^*\rVert_F}",
    ("ilora.stages.aggregate:mean", "ilora.stages.aggregate:truncated_svd", "ilora.lab.analysis.rule_comparison:compare_rules"),
)
EFFECTIVE_RANK = r"r_{\mathrm{eff}}=\exp\Big(-\sum_i\hat\sigma_i\log\hat\sigma_i\Big)"


def server_step(recipe: Recipe) -> str:
    """What the server does to the aggregate of a method, by its title; nothing where it takes it as it is."""
    server = recipe.ingredient("server")
    return "" if server.takes_aggregate else server.title


CHARTS: dict[str, Chart] = {
    "accuracy": Chart(
        "Test accuracy",
        lambda view: figures.over_rounds(view.traces, main_score(view.history.columns), view.at, rounds=view.run.rounds),
        lambda view: rounds.accuracy(view.history, view.at, len(TASKS[view.run.experiment.task].classes)),
        "After each round the server's model is tested on samples that no client has. Higher is better."
        " The grey line marks the round that you look at.",
        r"\text{accuracy}=\frac{1}{n}\sum_{i=1}^{n}\left[\arg\max f(x_i)=y_i\right]",
        ("ilora.simulation.evaluation:score_server",),
    ),
    "loss": Chart(
        "Loss",
        lambda view: figures.losses(view.history, view.at, view.run.rounds),
        lambda view: rounds.loss(view.history, view.at),
        "How surprised the model is by the right answer. The dotted line is what the clients see on their own samples during"
        " training, the solid one what the server's model gets on the test samples. The first is averaged over the round's"
        " steps.",
        r"F_k=\tfrac1{n_k}\sum_i\mathrm{CE}(f(x_i),y_i)",
        ("ilora.stages.objectives:cross_entropy",),
    ),
    "error": Chart(
        "Aggregation error",
        lambda view: figures.error_split(view.history, view.at, view.run.rounds),
        lambda view: rounds.error_split(
            view.history, view.at, int(max(view.record.clients["rank"])), server_step(view.run.experiment.recipe)
        ),
        "The ideal update is the average of the clients' updates. The bars show what the server's rule lost on the way: by"
        " averaging factors instead of updates, and by truncating to a rank. They are norms of differences, so the two need not"
        " add up to the whole. Where the server then takes a step of its own on purpose, as Adam does, green is its norm.",
        r"\frac{\lVert G_{t+1}-\Delta W^*\rVert_F}{\lVert\Delta W^*\rVert_F},\qquad\Delta W^*=\sum_kp_k\,\Delta W_k",
        ("ilora.diagnostics:aggregation_error",),
    ),
    "error-by-layer": Chart(
        "Aggregation error by layer",
        lambda view: figures.error_by_layer(view.record),
        lambda view: rounds.error_by_layer(view.record),
        "The same split for each adapted layer in the round that you look at. The grey mark is the whole error.",
        r"\frac{\lVert G^{(l)}-\Delta W^{*(l)}\rVert_F}{\lVert\Delta W^{*(l)}\rVert_F}",
        ("ilora.diagnostics:aggregation_error",),
    ),
    "alignment": Chart(
        "Subspace alignment",
        lambda view: figures.alignment(view.record, view.layer, view.side),
        lambda view: rounds.alignment(view.record, view.layer, view.side),
        "Each cell compares two clients: 1 means that the smaller subspace lies inside the larger, 0 that they share nothing."
        " Compare with chance, marked on the colour bar: two random subspaces overlap too, the more the higher their ranks.",
        r"\varphi(X,Y)=\frac{\lVert U_X^\top U_Y\rVert_F^2}{\min(r_X,r_Y)},\qquad\mathbb E\,\varphi=\frac{\max(r_X,r_Y)}{d}",
        ("ilora.diagnostics:overlap", "ilora.diagnostics:bases", "ilora.diagnostics:chance_overlap"),
    ),
    "alignment-over-rounds": Chart(
        "Alignment over the rounds",
        lambda view: figures.over_rounds(view.traces, "alignment", view.at, rounds=view.run.rounds),
        lambda view: rounds.over_rounds("alignment", view.history, view.at),
        "Mean overlap over all pairs of clients, both sides and all layers. The dotted line is chance.",
        r"\frac1{|P|}\sum_{(i,j)\in P}\varphi(X_i,X_j)",
        ("ilora.diagnostics:overlap",),
    ),
    "angles": Chart(
        "Principal angles",
        lambda view: figures.angles(view.record, view.layer),
        lambda view: rounds.angles(view.record, view.layer),
        "0° means the same directions, 90° nothing in common. Each dot is a different client, the diamond is the ideal update.",
        r"\cos\theta_i=\sigma_i(Q_X^\top Q_Y)",
        ("ilora.diagnostics:principal_angles", "ilora.diagnostics:mean_angles"),
    ),
    "drift": Chart(
        "Client drift",
        lambda view: figures.drift(view.record, view.layer),
        lambda view: rounds.drift(view.record, view.layer),
        "The distance of each client's update in this layer from the round's mean update, in units of the mean's norm, not"
        " squared. Above 1, a client differs from the mean by more than the mean itself.",
        r"\frac{\lVert D_k-\bar D\rVert_F}{\lVert\bar D\rVert_F},\qquad D_k=W'_{t,k}-W_{t,k}",
        ("ilora.diagnostics:drift", "ilora.diagnostics:movements"),
    ),
    "drift-over-rounds": Chart(
        "Drift over the rounds",
        lambda view: figures.over_rounds(view.traces, "drift", view.at, rounds=view.run.rounds),
        lambda view: rounds.over_rounds("drift", view.history, view.at) + rounds.outweighed(view.record),
        "D, a ratio of squares: the weighted mean squared distance from the mean update, divided by the mean's squared norm,"
        " over all layers.",
        r"D=\frac{\sum_kp_k\lVert D_k-\bar D\rVert_F^2}{\lVert\bar D\rVert_F^2}",
        ("ilora.diagnostics:drift",),
    ),
    "cosine": Chart(
        "Cosine between clients",
        lambda view: figures.over_rounds(view.traces, "cosine", view.at, rounds=view.run.rounds),
        lambda view: rounds.over_rounds("cosine", view.history, view.at),
        "1: all updates have the same direction. 0: at right angles. Below 0: opposed.",
        r"\cos(D_i,D_j)=\frac{\langle D_i,D_j\rangle}{\lVert D_i\rVert\,\lVert D_j\rVert}",
        ("ilora.diagnostics:cosines",),
    ),
    "spectrum": Chart(
        "Singular-value spectrum",
        lambda view: figures.spectrum(view.record, view.layer, min(view.facts.ranks)),
        lambda view: rounds.spectrum(view.record, view.layer, min(view.facts.ranks)),
        "Singular values, strongest direction first: grey what the clients learned together, blue what the server kept. If blue"
        " falls away right of the dashed line, the update collapses to the smallest rank.",
        EFFECTIVE_RANK + r",\qquad\rho=\frac{\sum_{i\le r_{\min}}\sigma_i^2}{\sum_i\sigma_i^2}",
        ("ilora.diagnostics:effective_rank", "ilora.diagnostics:energy_share"),
    ),
    "effective-rank": Chart(
        "Effective rank per layer over the rounds",
        lambda view: figures.over_rounds(view.traces, "effective_rank", view.at, rounds=view.run.rounds),
        lambda view: rounds.over_rounds("effective_rank", view.history, view.at),
        "The effective rank of the server's update, mean over the layers. A fall towards the smallest rank is rank collapse.",
        EFFECTIVE_RANK,
        ("ilora.diagnostics:effective_rank",),
    ),
    "client-data": Chart(
        "Who holds what",
        lambda view: figures.client_data(view.facts),
        lambda view: data.client_data(view.facts),
        "Each bubble is the samples of one class that one client holds; its area is their number, its colour the client's rank.",
        r"q_k\sim\mathrm{Dirichlet}(\alpha)",
        ("ilora.clients.partition:partition", "ilora.clients.partition:dirichlet_labels"),
    ),
    "participation": Chart(
        "Ranks and participation",
        lambda view: figures.participation(view.record, view.facts),
        lambda view: rounds.participation(view.record, view.facts),
        "The rank of every client. Pale bars are clients that did not take part in the round that you look at.",
        r"p_k=n_k/\sum_{j\in S}n_j",
        ("ilora.stages.weighting:samples",),
    ),
    "clients-accuracy": Chart(
        "The clients' own models",
        lambda view: figures.clients_accuracy(view.record),
        lambda view: rounds.clients_accuracy(view.record),
        "Each client's model right after local training: on the whole test set, and with the test set weighted to the client's"
        " own mix of classes. A client can be good on its own mix and poor on the whole.",
        r"\mathrm{acc}_k^{\mathrm{own}}=\sum_cq_{k,c}\,\mathrm{acc}_{k,c}",
        (
            "ilora.simulation.evaluation:score_clients",
            "ilora.simulation.evaluation:own_mixture",
        ),
    ),
    "traffic": Chart(
        "What was sent",
        lambda view: figures.traffic(view.history, view.at, view.run.rounds),
        lambda view: rounds.traffic(view.history, view.at),
        "Traffic so far in megabytes, all clients together: upload is what the clients send, download what they receive.",
        r"\text{floats up}=\sum_{k\in S}r_k\,(d_{in}+d_{out})\ \text{per layer}",
        ("ilora.simulation.communication:of_round",),
    ),
} | DEPTH
SECTIONS: dict[str, tuple[str, ...]] = {  # of the playground; the other pages go deeper
    "Overview": ("accuracy", "loss", "error", "drift-over-rounds", "alignment-over-rounds", "effective-rank"),
    "Clients": ("client-data", "clients-accuracy", "participation", "drift"),
    "Server": ("error-by-layer", "spectrum"),
    "Cost": ("traffic", "accuracy"),
}
BY_LAYER = {"alignment", "angles", "drift", "spectrum"}  # charts that the layer slider moves


def reading(name: str, main: str = "accuracy") -> Chart:
    """A chart of the catalogue; where a task is known by another score than accuracy, the chart of accuracy says so."""
    chart = CHARTS[name]
    if name != "accuracy" or main == "accuracy":
        return chart
    words = measure_of(main)
    metric = main.removeprefix(SCORE)
    return replace(
        chart, title=words.title, reading=f"{chart.reading} {words.about}", formula="", sources=(f"ilora.tasks.metrics:{metric}",)
    )


def uploads_of(view: View) -> "Uploads":
    """What a real round's clients sent of the layer that is looked at; FieldError where the record does not say."""
    from ilora.lab.analysis import rule_comparison

    first = data_access.factors(view.run, 1, view.layer)
    return rule_comparison.uploads_of(view.run.experiment, view.record, view.factors, first)

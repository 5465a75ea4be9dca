"""One round in five steps, on the tensors of a real round: broadcast, local training, upload, merge, hand back."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import streamlit as st

from ilora.checks import FieldError
from ilora.lab import figures
from ilora.lab.captions import one_round
from ilora.lab.captions.words import client_name
from ilora.lab.dashboard.charts.block import draw, show_formula
from ilora.lab.dashboard.charts.catalogue import RULES_READING, uploads_of
from ilora.lab.dashboard.charts.view import Reading, View
from ilora.lab.figures.factors import strongest
from ilora.methods.ingredients import INGREDIENTS
from ilora.records import Array

if TYPE_CHECKING:
    from ilora.lab.analysis.rule_comparison import Uploads
    from ilora.lora.aggregation import Aggregate

STEP, CLIENT, RULE = "step.at", "step.client", "step.rule"
MAP_READING = Reading(
    "One row per slot, one column per number; blue is below zero, orange above. A client of rank r has the first r slots, the"
    " grey ones are not there. The colours mean the same in all steps of a round; only what training changed, which is small, has"
    " a scale of its own.",
    r"\Delta W_k=s_kB_kA_k,\qquad A_k\in\mathbb R^{r_k\times d_{in}},\qquad B_k\in\mathbb R^{d_{out}\times r_k}",
    ("ilora.lora.factors:Stack",),
)
MERGE_READING = Reading(
    "Left what the server should hold, the weighted average of the clients' updates; in the middle what the rule made of their"
    " factors; right what went wrong. All three in one colour scale.",
    r"\Delta W^*=\sum_kp_ks_kB_kA_k,\qquad\frac{\lVert G-\Delta W^*\rVert_F}{\lVert\Delta W^*\rVert_F}",
    ("ilora.api:aggregate", "ilora.diagnostics:aggregation_error"),
)
BACK_READING = Reading(
    "How far each client's model is from the ideal update when the next round begins. A client of rank r receives the first r"
    " slots of what the server holds, unless the method merges everything into the base of all clients.",
    r"\frac{\lVert s_kB_{:,1:r_k}A_{1:r_k,:}-\Delta W^*\rVert_F}{\lVert\Delta W^*\rVert_F}",
    ("ilora.lora.aggregation:Aggregate",),
)


class Client(NamedTuple):
    """One client of the round that is looked at."""

    place: int  # in the round's list of clients
    name: str
    rank: int
    scale: float


def five_steps(view: View) -> None:
    """The five steps; the one that is looked at is drawn below the bar."""
    if not view.factors:
        st.info("This round keeps no factors of this layer; train the run anew to have them.")
        return
    step = _bar()
    client = _client_control(view)
    DRAWN[step](view, client)


def _bar() -> str:
    """The steps in a row, with buttons to go on and back. Keys: N and B."""
    names = list(DRAWN)
    if st.session_state.get(STEP) not in names:
        st.session_state[STEP] = names[0]
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="steps"):
        at = names.index(st.session_state[STEP])
        st.button("Step back", key="step.back", shortcut="B", disabled=at == 0, on_click=_go, args=(at - 1,))
        st.button(
            "Next step",
            key="step.next",
            shortcut="N",
            type="primary",
            disabled=at == len(names) - 1,
            on_click=_go,
            args=(at + 1,),
        )
        chosen = st.segmented_control(
            "Step", names, key=STEP, required=True, label_visibility="collapsed", wrap=True, persist_state="session"
        )
    return str(chosen or names[0])


def _go(to: int) -> None:
    """Go to a step: named, not counted from the bar's, which a quick press sends along before the bar has moved."""
    names = list(DRAWN)
    st.session_state[STEP] = names[min(max(0, to), len(names) - 1)]


def _client_control(view: View) -> Client:
    """The client that is followed through the round: at first the one of the smallest rank."""
    clients = view.record.clients
    count = len(view.factors["start/A"])
    ids = [int(identity) for identity in clients["id"][:count]]
    if st.session_state.get(CLIENT) not in ids:
        st.session_state[CLIENT] = ids[int(np.argmin(clients["rank"][:count]))]
    ranks = dict(zip(ids, (int(rank) for rank in clients["rank"]), strict=False))
    chosen = st.selectbox(
        "Follow", ids, key=CLIENT, format_func=lambda k: client_name(k, ranks[k]).capitalize(), persist_state="session", width=260
    )
    recipe = view.run.experiment.recipe
    rank = view.factors["start/A"].shape[1] if recipe.whole else ranks[chosen]
    return Client(ids.index(chosen), client_name(chosen, ranks[chosen]).capitalize(), rank, recipe.scaling(rank))


def _broadcast(view: View, client: Client) -> None:
    A, B = _factors(view, "start", client)
    st.markdown(
        f"The server sends its model down. **{client.name}** has room for "
        + (
            f"**{client.rank}** of {A.shape[0]} slots, so it receives the first of them."
            if client.rank < A.shape[0]
            else f"all **{client.rank}** slots, so it receives the whole of it."
        )
    )
    _numbers(view, client, A, B)
    _maps(view, client, A, B, "What it receives", one_round.received(client.name, A, B, client.rank, client.scale))


def _training(view: View, client: Client) -> None:
    (A0, B0), (A, B) = _factors(view, "start", client), _factors(view, "trained", client)
    e, row = view.run.experiment, view.record.clients
    held = int(row["samples"][client.place])
    work = f"**{e.local_steps} steps**"
    if e.local_epochs is not None:
        passes = "one local epoch" if e.local_epochs == 1 else f"{e.local_epochs} local epochs"
        work = f"**{math.ceil(e.local_epochs * held / e.batch_size)} steps** ({passes})"
    st.markdown(
        f"**{client.name}** takes {work} of {e.batch_size} samples each, from the {held} that it holds."
        " The backbone stays frozen; only the adapter and the head move."
    )
    moved = float(view.record.layers[view.layer].movement_norm[client.place])
    loss = float(row["train_loss"][client.place])
    sentence = one_round.trained(client.name, moved, loss, A - A0, B - B0)
    _maps(view, client, A - A0, B - B0, "What training changed", sentence, strongest(A - A0, B - B0))


def _upload(view: View, client: Client) -> None:
    A, B = _factors(view, "trained", client)
    recipe = view.run.experiment.recipe
    sharing, upload = recipe.ingredient("sharing"), recipe.ingredient("upload")
    st.markdown(
        f"**{client.name}** sends its factors, and never its samples. This method's sharing: *{sharing.title}*. {sharing.idea}"
    )
    weight = float(view.record.clients["weight"][client.place])
    numbers = client.rank * (A.shape[1] + B.shape[0])
    _numbers(view, client, A, B, weight)
    everything = sharing.sends_all and upload.keeps_products and upload.keeps_slots and not upload.prunes
    title = "What it sends" if everything else "What it holds when it sends"
    _maps(view, client, A, B, title, one_round.sent(client.name, numbers, A.shape[1] * B.shape[0], weight))


def _merge(view: View, client: Client) -> None:
    uploads = _uploads(view)
    if uploads is None:
        return
    st.markdown("The server has all clients' factors. **How should it aggregate them?** Choose a rule and press Merge.")
    rule = _rule_control(view)
    tried: list[str] = st.session_state.setdefault(_tried_key(view), [])
    if st.button("Merge", key="step.merge", shortcut="M", type="primary", icon=":material/merge:") and rule not in tried:
        tried.append(rule)
    if not tried:
        return
    made = _made(view, rule if rule in tried else tried[-1], uploads)
    _show_merged(view, made, uploads, rule if rule in tried else tried[-1])
    _show_tried(view, tried, uploads)


def _rule_control(view: View) -> str:
    from ilora.lab.analysis.rule_comparison import rules

    own, offered = _own(view), rules()
    if st.session_state.get(RULE) not in offered:
        st.session_state[RULE] = offered[0]
    chosen = st.selectbox(
        "Way to merge", offered, key=RULE, format_func=lambda rule: figures.rule_label(rule, own), persist_state="session"
    )
    st.caption(INGREDIENTS["aggregate"][chosen].idea)
    show_formula(INGREDIENTS["aggregate"][chosen].formula)
    return str(chosen)


def _show_merged(view: View, made: "Aggregate", uploads: "Uploads", rule: str) -> None:
    from ilora.lab.analysis.rule_comparison import outcome

    lost = outcome(rule, made, uploads)
    sentence = one_round.merged(lost, rule == _own(view))
    figure = figures.update_maps(made.ideal.product().numpy(), made.update().numpy())
    draw("step.update", f"Merged by: {INGREDIENTS['aggregate'][rule].title}", figure, sentence, MERGE_READING)


def _show_tried(view: View, tried: list[str], uploads: "Uploads") -> None:
    """All rules that the learner has pressed Merge for, side by side."""
    from ilora.lab.analysis.rule_comparison import outcome

    if len(tried) < 2:
        st.caption("Merge by a different rule, and the two are shown side by side.")
        return
    outcomes = [outcome(rule, _made(view, rule, uploads), uploads) for rule in tried]
    ranks, own = [len(A) for A, _ in uploads.factors], _own(view)
    best = min(outcomes, key=lambda found: found.server)
    sentence = one_round.tried(len(tried), best, own)
    draw("step.tried", "What you have tried", figures.rule_errors(outcomes, own), sentence, RULES_READING)
    st.caption(f"Ranks {min(ranks)} to {max(ranks)}, {len(ranks)} clients.")


def _hand_back(view: View, client: Client) -> None:
    uploads = _uploads(view)
    if uploads is None:
        return
    from ilora.lab.analysis.rule_comparison import away, rules

    tried = st.session_state.get(_tried_key(view), [])
    rule = st.session_state.get(RULE) if st.session_state.get(RULE) in tried else (tried or [_own(view)])[-1]
    if rule not in rules():
        rule = rules()[0]
    made = _made(view, rule, uploads)
    st.markdown(f"Merged by *{INGREDIENTS['aggregate'][rule].title}*, the model goes back. Everyone gets what its rank can hold.")
    labels = [client_name(identity).removeprefix("client ") for identity in view.record.clients["id"]]
    ranks, errors = [len(A) for A, _ in uploads.factors], away(made, uploads)
    sentence = one_round.handed_back(client.name, errors[client.place], made.merge, min(errors))
    draw("step.returned", "How far from the ideal", figures.handed_back(labels, ranks, errors), sentence, BACK_READING)
    if not made.merge:
        A, B = (np.asarray(factor) for factor in made.factors(client.rank).pad(max(ranks)))
        received = one_round.received(client.name, A, B, client.rank, client.scale)
        _maps(view, client, A, B, "What it gets back", received)


DRAWN: dict[str, Callable[[View, Client], None]] = {
    "1 Broadcast": _broadcast,
    "2 Local training": _training,
    "3 Upload": _upload,
    "4 Merge": _merge,
    "5 Hand back": _hand_back,
}


def _factors(view: View, when: str, client: Client) -> tuple[Array, Array]:
    return view.factors[f"{when}/A"][client.place], view.factors[f"{when}/B"][client.place]


def _numbers(view: View, client: Client, A: Array, B: Array, weight: float | None = None) -> None:
    """Where the rank, alpha and the scaling enter, in numbers."""
    length = float(np.linalg.norm(client.scale * B @ A))
    with st.grid("auto", min_column_width=130, gap="small"):
        st.metric("Rank r", client.rank)
        st.metric("Scaling s", f"{client.scale:.3g}", help=one_round.scaling(view.run.experiment.recipe.scaling, client.rank))
        st.metric("Length of A", f"{np.linalg.norm(A):.3g}")
        st.metric("Length of B", f"{np.linalg.norm(B):.3g}")
        st.metric("Length of s·BA", f"{length:.3g}")
        if weight is not None:
            st.metric("Weight p", f"{100 * weight:.0f} %")
    st.caption(one_round.scaling(view.run.experiment.recipe.scaling, client.rank))


def _maps(view: View, client: Client, A: Array, B: Array, title: str, sentence: str, limit: float = 0.0) -> None:
    limit = limit or strongest(view.factors["trained/A"], view.factors["trained/B"])
    draw("step.factors", title, figures.factor_maps(A, B, client.rank, limit), sentence, MAP_READING)


def _own(view: View) -> str:
    return view.run.experiment.recipe.ingredients["aggregate"]


def _uploads(view: View) -> "Uploads | None":
    try:
        return uploads_of(view)
    except FieldError as error:
        st.info(str(error))
        return None


def _tried_key(view: View) -> str:
    return f"step.tried.{view.run.id}.{view.at}.{view.layer}"


def _made(view: View, rule: str, uploads: "Uploads") -> "Aggregate":
    from ilora.lab.analysis.rule_comparison import merged

    return merged(rule, uploads, view.run.experiment)

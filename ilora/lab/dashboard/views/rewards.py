"""Learning from rewards: start the variants of AER or MoR by one button, and look at the newest ones side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from ilora.experiment import Experiment
from ilora.lab.analysis.measures import Measure, measure_of
from ilora.lab.captions import rewards
from ilora.lab.captions.words import percent
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.block import draw, provenance_badge, show_formula
from ilora.lab.dashboard.charts.view import Reading
from ilora.lab.dashboard.run_group import Group, active, new_group, progress, refusal_kept, stop_button, submit, watch
from ilora.lab.figures import rewards as figures
from ilora.lab.runs.store import Run
from ilora.methods import METHODS
from ilora.methods.recipes.reward_learning import NOT_COVERED
from ilora.records import Round, main_score

STARTED_BY = ("rewards", "alignment")  # how the name of a group begins; the second is that of earlier versions
Variants = Mapping[str, tuple[str, dict[str, Any]]]  # name -> method and options; the first is the one that is looked at
VARIANTS: dict[str, Variants] = {
    "aer": {
        "AER": ("aer", {}),
        "No bonus": ("aer", {"bonus": "none"}),
        "Fixed bonus": ("aer", {"bonus": "fixed"}),
        "Controller only": ("aer", {"bonus": "controller"}),
    },
    "mor": {
        "One client's reward": ("mor", {"reward": "single"}),
        "All rewards alike": ("mor", {"reward": "uniform"}),
        "Router": ("mor", {}),
        "True label as reward": ("mor", {"reward": "oracle"}),
        "Supervised FedAvg": ("fedit", {}),
    },
}
READINGS = {
    "entropy": Reading(
        "How unsure the policy is, in nats: 0 it always gives the same answer, 2.3 it guesses among ten classes. Reward alone"
        " drives it down; too large a bonus keeps it guessing. The dashed line is where the thermostat wants it.",
        r"H(\pi)=-\sum_y\pi(y|x)\log\pi(y|x),\qquad H^*=\tau H_0",
        ("ilora.stages.policy_gradient:entropy",),
    ),
    "valve": Reading(
        "The server opens the valve while the entropy is below its target and closes it above. Pinned at its cap, it has failed:"
        " there is nothing left to explore for it to act on.",
        r"\alpha_{t+1}=\mathrm{clip}(\alpha_t+\eta(H^*-H_t),0,\alpha_{max})",
        ("ilora.stages.policy_gradient:next_alpha",),
    ),
    "exploration": Reading(
        "Each dot is all prompts for which the same share of a group of answers was right; its area is their number. The"
        " fewer are right, the more certainty costs.",
        r"\lambda(q)=\alpha_t\max(0,1-g(q)/\rho)",
        ("ilora.stages.policy_gradient:difficulty_bonus",),
    ),
    "trust": Reading(
        "Prompts lie by the two main directions of their features. The number in a cell is the client whose reward counts most"
        " there, the colour how much. Look up on the Playground which classes that client holds.",
        r"g(x)=\mathrm{softmax}(\mathrm{router}(\varphi(x)))",
        ("ilora.stages.reward_mixture:trust", "ilora.stages.reward_mixture:fit_router"),
    ),
    "ladder": Reading(
        "The same policy learns from different rewards. A single client's reward teaches its blind spots too. The last bar learns"
        " from labels, with as many forward passes.",
        r"R(x,y)=\sum_kg_k(x)\,\tilde r_k(x,y)",
        ("ilora.stages.reward_mixture:fused", "ilora.stages.reward_mixture:MixtureOfRewards"),
    ),
}


def variants(experiment: Experiment, kind: str) -> dict[str, Experiment]:
    """The experiment once for each variant."""
    return {name: experiment.replace(method=method, options=options) for name, (method, options) in VARIANTS[kind].items()}


def start(experiments: Mapping[str, Experiment], kind: str) -> None:
    """Put all variants into the queue as one group."""
    group = new_group(f"{STARTED_BY[0]}-{kind}")
    with refusal_kept():
        for name, experiment in experiments.items():
            submit(experiment, name, group=group)


def newest(kind: str) -> dict[str, Run]:
    """The variants that were started last, by name, in the order in which they are listed."""
    begins = tuple(f"{page}-{kind}-" for page in STARTED_BY)
    found = [run for run in data_access.store().runs() if run.group.startswith(begins) and data_access.known(run)]
    together = {run.name: run for run in found if run.group == found[0].group}
    return {name: together[name] for name in VARIANTS[kind] if name in together}


def view(kind: str) -> None:
    """The newest variants, redrawn every second while one of them is alive."""
    watch(lambda: newest(kind), lambda runs: _view(kind, runs))


def _view(kind: str, runs: Group) -> None:
    with st.container():
        for name, run in runs.items():
            if run.status != "finished":
                progress(name, [run])
        if active(runs.values()):
            stop_button(runs.values(), f"rewards.stop.{kind}")
    if any(run.done for run in runs.values()):
        {"aer": _thermostat, "mor": _router}[kind](runs)


def _thermostat(runs: Group) -> None:
    """Entropy and valve over the rounds with the ghosts of the variants; the prompts of one round; pass@k at the end."""
    runs = {name: run for name, run in runs.items() if run.done}
    traces = {name: _trace(str(data_access.store().home), run.id, run.done) for name, run in runs.items()}
    name, run = next(iter(runs.items()))
    at, rounds = _round_slider(run), max(run.rounds for run in runs.values())
    options = run.experiment.recipe.options
    left, right = st.columns(2)
    with left:
        figure = figures.entropy(traces, at, rounds)
        draw("rewards.entropy", "Entropy of the policy", figure, rewards.thermostat(traces), READINGS["entropy"])
    with right:
        figure = figures.valve(traces, at, rounds)
        sentence = rewards.valve(traces, float(options["alpha_max"]))
        draw("rewards.valve", "The valve, alpha", figure, sentence, READINGS["valve"])
    record = data_access.load_round(run, at)
    if record is not None:
        groups = record.clients["group_correct"].sum(0)
        bonus = rewards.price(float(record.clients["alpha"][0]), len(groups) - 1, options)
        figure, sentence = figures.exploration(groups, bonus), rewards.explored(groups, bonus)
        draw("rewards.exploration", f"Who is explored: {name}, round {at}", figure, sentence, READINGS["exploration"])
    st.markdown("##### In the last round")
    st.table(ends(traces, measure_of(main_score(run.last))))
    st.caption("pass@k: the chance that one of k answers is right, exact, on the clients' own prompts before they train.")


def ends(traces: Mapping[str, pd.DataFrame], words: Measure) -> pd.DataFrame:
    """The last round of each trace as text with units."""
    rows = {
        name: {
            "Entropy": f"{end['entropy']:.2f} nats",
            words.title: words.show(end["score"]),
            "pass@1": percent(end["pass_1"], 1),
            "pass@8": percent(end["pass_8"], 1),
        }
        for name, end in ((name, trace.iloc[-1]) for name, trace in traces.items() if len(trace))
    }
    return pd.DataFrame(rows).T


def _router(runs: Group) -> None:
    """The map of trust of one round, and what each reward is worth."""
    scores = {name: run.last["accuracy"] for name, run in runs.items() if run.done}
    words = measure_of(main_score(next(run for run in runs.values() if run.done).last))
    left, right = st.columns(2)
    with left:
        sentence = rewards.ladder(scores, words)
        draw("rewards.ladder", "What a reward is worth", figures.ladder(scores, words), sentence, READINGS["ladder"])
    routed = runs.get("Router")
    record = data_access.load_round(routed, routed.done) if routed and routed.done else None
    with right:
        if record is None:
            st.info("The map appears after the first round of the run with the router.", icon=":material/map:")
        else:
            sentence = rewards.router(record)
            draw("rewards.trust", "Whose reward the router trusts", figures.trust_map(record), sentence, READINGS["trust"])


def _round_slider(run: Run) -> int:
    if run.done < 2:
        return run.done
    key = "rewards.round"
    st.session_state[key] = min(st.session_state.get(key, run.done), run.done)
    return int(st.slider("Round", 1, run.done, key=key))


@st.cache_data(show_spinner=False, max_entries=32)
def _trace(home: str, run_id: str, done: int) -> pd.DataFrame:
    records: Sequence[Round | None] = [data_access.store().round(run_id, index) for index in range(1, done + 1)]
    return rewards.trace([record for record in records if record is not None])


def about(kind: str) -> None:
    """The method in its own words, what is ours in it, and what is not covered."""
    method = METHODS[kind]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"#### {method.title}", width="content")
        provenance_badge(method)
    st.markdown(method.idea)
    with st.expander("Formulas, our choices, and what is not covered", icon=":material/info:"):
        show_formula(method.formula)
        st.markdown(method.note)
        st.markdown("**Ours where the source is silent**\n\n" + "\n".join(f"- {choice}" for choice in method.choices))
        st.markdown("**Not covered**\n\n" + "\n".join(f"- {gap}" for gap in NOT_COVERED[kind]))

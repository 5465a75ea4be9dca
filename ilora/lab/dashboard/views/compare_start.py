"""Comparing: several methods, under one seed or more, start on the same clients and batches, and are looked at together."""

from collections.abc import Sequence

import streamlit as st

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.run_group import LEAST, MOST_RUNS, RUNS, new_group, refusal_kept, submit
from ilora.lab.runs.store import Run
from ilora.methods import METHODS

MOST, MOST_SEEDS = 8, MOST_RUNS // 8
FIRST = 4  # methods that are chosen before anybody chooses


def choices() -> dict[str, str]:
    """What can be compared: every method that learns from labels, and every other mode of it, as "method:mode" with its title."""
    found = {}
    for name, method in METHODS.items():
        if method.learns_from_reward:
            continue
        found[name] = method.title
        for mode in list(method.modes)[1:]:
            found[f"{name}:{mode}"] = f"{method.title} ({mode})"
    return found


def entrants(experiment: Experiment, chosen: Sequence[str], seeds: int = 1) -> list[Experiment]:
    """The same experiment for every choice under every seed; FieldError unless two to eight different ones are chosen."""
    if not LEAST <= len(set(chosen)) <= MOST:
        allowed = f"{LEAST} to {MOST} different ones"
        raise FieldError("methods", chosen, allowed, f"methods: {len(set(chosen))} are chosen; allowed: {allowed}.")
    made = [_with_choice(experiment, choice) for choice in dict.fromkeys(chosen)]
    return [each.replace(seed=experiment.seed + more) for more in range(seeds) for each in made]


def _with_choice(experiment: Experiment, choice: str) -> Experiment:
    method, _, mode = choice.partition(":")
    options = {"mode": mode} if mode else {}
    return experiment.replace(method=method, options=options)


def start(experiments: Sequence[Experiment]) -> None:
    """Put all of them into the queue as one group and look at them."""
    group = new_group("compare")
    with refusal_kept():
        st.session_state[RUNS] = [submit(experiment, group=group) for experiment in experiments]
        url.note(runs=",".join(st.session_state[RUNS]))


def compared_runs() -> list[Run]:
    """The runs on the page: those in the address, else those looked at last; none that learns from a reward."""
    asked = [part for part in url.asked("runs").split(",") if part]
    if asked:
        st.session_state[RUNS] = asked[:MOST_RUNS]
    found = data_access.find_all(st.session_state.get(RUNS, [])).values()
    known = [run for run in found if data_access.known(run)]
    return [run for run in known if not METHODS[run.experiment.method].learns_from_reward]

"""A group of runs that a page starts and watches: submit, keep what was refused, draw while one is alive, progress, stop."""

import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import streamlit as st

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.lab.dashboard import data_access
from ilora.lab.runs import pool
from ilora.lab.runs.pace import duration
from ilora.lab.runs.store import STATUSES, Run, StoreError

POLL_SECONDS = 1.0
REFUSED = "refused"  # where a session keeps why the last press did nothing
RUN, RUNS = "playground.run", "compare.runs"  # where a session keeps what the playground and Compare show
LEAST, MOST_RUNS = 2, 40  # runs that are compared at once
Group = Mapping[str, Run]  # runs by the names that a page has for them


def new_group(kind: str) -> str:
    """A name that runs which start together share; it begins with "<kind>-"."""
    return f"{kind}-{secrets.token_hex(3)}"


def submit(experiment: Experiment, name: str = "", *, group: str = "", wanted: str = "run") -> str:
    """Put a run into the queue; returns its id. With wanted="step" it pauses after its first round."""
    return pool.submit(data_access.store(), experiment, name, group=group, wanted=wanted)


@contextmanager
def refusal_kept() -> Iterator[None]:
    """What the settings or the store refuse inside is kept for `show_refusal`."""
    try:
        yield
    except (FieldError, StoreError) as error:
        st.session_state[REFUSED] = str(error)


def show_refusal() -> None:
    """Say once why the last press did nothing."""
    show_error(st.session_state.pop(REFUSED, ""))


def show_error(sentence: str) -> None:
    """An error in one sentence; nothing for an empty one."""
    if sentence:
        st.error(sentence, icon=":material/error:")


def active(runs: Iterable[Run]) -> bool:
    """Whether one of the runs waits, trains or is paused."""
    return any(run.active for run in runs)


def watch(find: Callable[[], Group], draw: Callable[[Group], None], controls: Callable[[Group], None] | None = None) -> None:
    """Draw the runs that `find` returns, again every second while one of them is alive.

    `controls` come first and are drawn even where the page then starts anew: a press of theirs is never lost.
    """
    before = _standing(find())

    def drawn() -> None:
        trouble = pool.tend(data_access.store())
        runs = find()
        if controls:
            controls(runs)
        if _standing(runs) != before:
            st.rerun()  # other runs are shown, or the timer has to start or to stop
        with st.container():  # holds what comes and goes, so that all below keeps its place
            show_error(trouble)
        draw(runs)

    st.fragment(drawn, run_every=POLL_SECONDS if before[1] else None)()


def _standing(runs: Group) -> tuple[list[str], bool]:
    return [run.id for run in runs.values()], active(runs.values())


def progress(name: str, runs: Sequence[Run]) -> None:
    """A bar and a line on a run, or on the runs of one experiment under several seeds together."""
    now = describe(next((run for run in runs if run.active), runs[-1]))
    seed = f" · seed {sum(not run.active for run in runs) + 1} of {len(runs)}" if len(runs) > 1 else ""
    st.progress(sum(run.fraction for run in runs) / len(runs), text=f"**{name}**{seed} · {now}")


def stop_button(runs: Iterable[Run], key: str) -> None:
    """One button that stops those of the runs that are alive."""
    st.button("Stop all", icon=":material/stop:", key=key, on_click=_stop, args=(list(runs),))


def _stop(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.active:
            pool.stop(data_access.store(), run.id)


def open_run(run_id: str) -> None:
    """Leave for the playground, with this run on it."""
    st.switch_page("pages/playground.py", query_params={"run": run_id})


def open_comparison(run_ids: Sequence[str]) -> None:
    """Leave for the page Compare, with these runs on it."""
    st.session_state[RUNS] = list(run_ids)
    st.switch_page("pages/compare.py", query_params={"runs": ",".join(run_ids)})


def describe(run: Run) -> str:
    """Where a run stands, in a few words."""
    counted = f"round {run.done} of {run.rounds}"
    if run.status == "running" and run.wanted == "pause":
        return f"{counted} · pauses after this round"
    if run.status == "running" and not run.done:
        return data_access.store().download_of(run.id) or "the first round is on its way"
    if run.status == "running":
        left = "" if run.seconds_left is None else f" · about {duration(run.seconds_left)} left"
        return f"{counted} · trains{left}"
    return f"{counted} · {STATUSES[run.status]}"

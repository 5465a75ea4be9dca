"""The live view of one run: its buttons, its progress, and its charts after every round, with travel in time."""

import streamlit as st

from ilora.experiment import Experiment
from ilora.lab.captions.rounds import machine
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.charts.block import headline, method_line, welcome_picture
from ilora.lab.dashboard.charts.catalogue import SECTIONS, View
from ilora.lab.dashboard.charts.downloads import run_export
from ilora.lab.dashboard.controls import leave_out
from ilora.lab.dashboard.controls.experiment_form import fill
from ilora.lab.dashboard.controls.round_and_layer import look
from ilora.lab.dashboard.run_group import RUN, Group, progress, refusal_kept, show_refusal, submit, watch
from ilora.lab.runs import pool
from ilora.lab.runs.store import Run
from ilora.tasks import TASKS

GHOST = "playground.ghost"
DEEPER = {  # pages that show the same run and round in depth
    "round": "One round, step by step",
    "aggregation": "Aggregation",
    "subspaces": "Subspaces",
    "drift": "Drift",
    "collapse": "Rank collapse",
    "data": "Data",
}


def live_view(experiment: Experiment | None) -> None:
    """The current run, redrawn every second while it is alive and at rest otherwise."""
    watch(_found, lambda found: _live(experiment, _only(found)), lambda found: _controls(experiment, _only(found)))


def current_run() -> str:
    """The id of the run on the page, which the address keeps; empty at first."""
    asked = url.asked("run")
    if asked and asked != st.session_state.get(RUN):
        st.session_state[RUN] = asked
        if (run := data_access.find(asked)) and data_access.known(run) and not url.describes_experiment():
            fill(run.experiment)
    return str(st.session_state.setdefault(RUN, ""))


def pinned() -> str:
    """The id of the run that is pinned behind the current one; the address keeps it."""
    if asked := url.asked("ghost"):
        st.session_state.setdefault(GHOST, asked)
    return str(st.session_state.get(GHOST, ""))


def _found() -> Group:
    """The run on the page, if there is one and this version knows its settings."""
    run = data_access.find(st.session_state.get(RUN))
    return {run.name: run} if run and data_access.known(run) else {}


def _only(found: Group) -> Run | None:
    return next(iter(found.values()), None)


def _controls(experiment: Experiment | None, run: Run | None) -> None:
    """The buttons, and a word on settings that are wrong."""
    _buttons(experiment, run)
    if leave_out.changed():
        st.rerun()  # the form shows other settings
    if experiment is None or url.problems():
        st.caption(":red[:material/error: Something in the settings is not right; it is marked there.]")


def _live(experiment: Experiment | None, run: Run | None) -> None:
    """How the run stands, and its charts."""
    with st.container():  # holds whatever comes and goes, so that the charts keep their place
        show_refusal()
        if run is not None:
            _state(run, experiment)
    if run is None:
        _welcome(experiment)
        return
    if run.done:
        _rounds(run)


def _buttons(experiment: Experiment | None, run: Run | None) -> None:
    """Run, Pause or Resume, Step, Stop: always in the same place, pale where they would do nothing.

    What Run and Step start is taken while the page is drawn, not bound to the button: a value that was typed and left by
    pressing Run arrives together with the press.
    """
    active = run is not None and run.active
    going = active and run is not None and run.status != "paused" and run.wanted == "run"
    unfinished = run is not None and run.done < run.rounds
    with st.container(horizontal=True, gap="small", key="transport"):
        started = st.button(
            "Run",
            type="primary",
            icon=":material/play_arrow:",
            key="run",
            shortcut="Shift+Enter",
            disabled=active or experiment is None,
            help="Start a new run with these settings.",
        )
        _pause_button(run, bool(going), unfinished)
        stepped = st.button(
            "Step",
            icon=":material/skip_next:",
            key="step",
            shortcut="Shift+Right",
            disabled=bool(going) or (not unfinished and experiment is None),
            help="One round, then pause.",
        )
        st.button(
            "Stop",
            icon=":material/stop:",
            key="stop",
            shortcut="Shift+Backspace",
            disabled=not active,
            on_click=_tell,
            args=("stop", run),
            help="End the run here. What is finished stays.",
        )
        _pin_button(run)
    if stepped and run is not None and unfinished:
        _tell("step", run)
    elif (started or stepped) and experiment is not None:
        _start(experiment, "run" if started else "step")
    if started or stepped:
        st.rerun()


def _pause_button(run: Run | None, going: bool, unfinished: bool) -> None:
    """Pause, or Resume where a run waits."""
    waits = unfinished and not going
    st.button(
        "Resume" if waits else "Pause",
        icon=":material/resume:" if waits else ":material/pause:",
        key="resume" if waits else "pause",
        shortcut="Shift+Space",
        disabled=not (going or waits),
        on_click=_tell,
        args=("resume" if waits else "pause", run),
        help="Go on from the last finished round." if waits else "Pause after the round in flight.",
    )


def _ghost(run: Run) -> Run | None:
    """The pinned run, if it is another one of the same task."""
    ghost = data_access.find(pinned())
    same = ghost and ghost.id != run.id and data_access.known(ghost) and ghost.experiment.task == run.experiment.task
    return ghost if same else None


def _pin_button(run: Run | None) -> None:
    """Keep the run as a pale line behind the next one, or take it away again."""
    ghost = data_access.find(pinned())
    keep = run is not None and (ghost is None or ghost.id != run.id)
    st.button(
        "Pin" if keep or ghost is None else "Unpin",
        icon=":material/keep:" if keep or ghost is None else ":material/keep_off:",
        key="pin",
        disabled=run is None or not run.done,
        on_click=_pin,
        args=(run.id if run and keep else "",),
        help="Keep this run as a pale line behind the next one." if keep or ghost is None else "Take the pale line away.",
    )


def _pin(run_id: str) -> None:
    st.session_state[GHOST] = run_id
    url.note(ghost=run_id)


def _links(run: Run, at: int, layer: str) -> None:
    """The same run and round on the pages that go deeper."""
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="deeper"):
        st.markdown("Look inside:", width="content")
        query = {"run": run.id, "round": str(at), "layer": layer}
        for page, name in DEEPER.items():
            st.page_link(f"pages/{page}.py", label=name, query_params=query)


def _start(experiment: Experiment, wanted: str) -> None:
    with refusal_kept():
        st.session_state[RUN] = submit(experiment, wanted=wanted)
        url.note(run=st.session_state[RUN])


def _tell(what: str, run: Run) -> None:
    with refusal_kept():
        {"pause": pool.pause, "resume": pool.resume, "step": pool.step, "stop": pool.stop}[what](data_access.store(), run.id)


def _welcome(experiment: Experiment | None) -> None:
    """What a newcomer sees before the first run."""
    welcome_picture(
        experiment,
        f"{(experiment or Experiment()).clients} clients share one frozen backbone (grey). Each trains only a thin pair of"
        " factors A and B (coloured; the higher its rank, the thicker) on its own samples, and sends them to the server. The"
        " server makes one update of all. How it does that is the method's choice. Click a client to leave it out.",
        leave_out.toggle,
    )
    st.markdown("Press **Run** and watch what happens, round by round. The default experiment takes about a minute.")
    if last := next(filter(data_access.known, data_access.store().runs()), None):
        st.button(
            f"Show the last run: {last.name}",
            icon=":material/history:",
            key="last",
            type="tertiary",
            on_click=_show,
            args=(last,),
        )


def _show(run: Run) -> None:
    """Look at a stored run, with its settings in the controls."""
    st.session_state[RUN] = run.id
    fill(run.experiment)
    url.note(run=run.id)


def _state(run: Run, experiment: Experiment | None) -> None:
    """Where the run stands, in one line and one bar."""
    if run.status == "failed":
        st.error(f"This run ended with an error: {run.error}", icon=":material/error:")
        with st.expander("Log", icon=":material/description:"):
            st.code(data_access.store().read_log(run.id) or "The log is empty.", language=None, wrap_lines=True)
        return
    progress(run.name, [run])
    if experiment is not None and experiment != run.experiment:
        st.caption("The settings have changed since this run. Run starts a new one with them.")


def _rounds(run: Run) -> None:
    """Everything that is known of the round that is looked at."""
    history = data_access.history(run)
    top = st.container()
    facts = data_access.facts(run)
    lens = look(run, facts.layers if facts else ())
    record = data_access.load_round(run, lens.round)
    if record is None or facts is None:
        st.warning(f"Round {lens.round} of this run cannot be read; its file is damaged or gone.", icon=":material/warning:")
        return
    with top:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
            with st.container(width="content"):
                method_line(run.experiment.method, run.experiment.options.get("mode", ""), record)
            menu = st.popover("Export", icon=":material/download:", type="tertiary", key="run.export", on_change="rerun")
            if menu.open:
                with menu:
                    run_export(run, "live")
        headline(history, record)
    view = View(run, history, record, facts, lens.layer, ghost=_ghost(run))
    _links(run, record.index, lens.layer)
    if lens.section == "Clients":
        st.caption(leave_out.HINT)
    names = SECTIONS[lens.section]
    for pair in (names[i : i + 2] for i in range(0, len(names), 2)):
        for column, name in zip(st.columns(len(pair)), pair, strict=True):
            with column:
                leave_out.client_chart(name, view)
    kind = TASKS[run.experiment.task].kind
    st.caption(f"Seed {run.experiment.seed} · {machine(record, facts, kind)} · run `{run.id}`")

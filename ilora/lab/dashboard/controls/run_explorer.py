"""The explorer: a stored run, one of its rounds and one of its layers, chosen once for all charts of a page.

A page hands over a function that draws a View. What is chosen stands in the address, so that a link shows the same picture.
Before anybody has run anything, the recorded run of the default experiment is shown.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import streamlit as st

from ilora.lab.captions.words import layer_names
from ilora.lab.content import recorded_run
from ilora.lab.content.glossary import explain
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.charts.view import View
from ilora.lab.dashboard.controls.form_field import plain
from ilora.lab.dashboard.run_group import POLL_SECONDS
from ilora.lab.dashboard.run_group import RUN as ON_PLAYGROUND
from ilora.lab.runs.store import Run

PLAY_SECONDS = 1.0
RUN, PLAYING, TICKED, ADDRESS = "explorer.run", "explorer.playing", "explorer.ticked", "explorer.address"


def explore(draw: Callable[[View], None], *, by_layer: bool = True, factors: bool = False) -> None:
    """Draw the controls and, below, what `draw` makes of the choice; with `factors`, only layers whose factors are kept."""
    _take_over_address()
    run = _run_picker()
    st.fragment(_stage, run_every=_timer(run))(run.id, _timer(run), draw, by_layer, factors)


def say_missing(run_ids: Iterable[str]) -> None:
    """A warning on the page for every run that its address asks for and that cannot be shown."""
    for run_id in filter(None, run_ids):
        run = data_access.find(run_id)
        if run is None or not data_access.known(run):
            reason = "it is not stored here" if run is None else "this version does not know all of its settings"
            st.warning(plain(f"The run {run_id!r} cannot be shown: {reason}."), icon=":material/warning:")


def shown_run() -> Run:
    """The run that is looked at."""
    return data_access.find(st.session_state.get(RUN)) or recorded_run.run()


def runs() -> dict[str, str]:
    """The runs that can be looked at, by id with a name: stored ones, the newest first, and the recorded one."""
    stored = {run.id: run.name for run in data_access.store().runs() if run.done and data_access.known(run)}
    named = {i: f"{name} · {i}" if list(stored.values()).count(name) > 1 else name for i, name in stored.items()}
    return named | {recorded_run.ID: recorded_run.run().name}


def _run_picker() -> Run:
    """The run that is looked at: the one chosen, else the playground's, else the newest."""
    offered = runs()
    if st.session_state.get(RUN) not in offered:
        shown = st.session_state.get(ON_PLAYGROUND)
        st.session_state[RUN] = shown if shown in offered else next(iter(offered))
    chosen = st.selectbox("Run", list(offered), key=RUN, format_func=lambda i: offered.get(i, i), persist_state="session")
    if chosen == recorded_run.ID and len(offered) == 1:
        st.caption("This run came with the program. Run your own in the Playground, and you can choose it here.")
    return data_access.find(chosen) or recorded_run.run()


def _stage(run_id: str, timer: float | None, draw: Callable[[View], None], by_layer: bool, factors: bool) -> None:
    """The controls of a run and the charts under them; the part of the page that play moves."""
    run = data_access.find(run_id) or recorded_run.run()
    if _timer(run) != timer:
        st.rerun()
    facts = data_access.facts(run)
    if facts is None:
        st.info("This run has not begun yet.")
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom") if by_layer else (st.container(), st.container())
    with left:
        at = round_control(run)
    with right:
        layer = layer_control(kept_layers(run, at, facts.layers) if factors else facts.layers) if by_layer else facts.layers[0]
    record = data_access.load_round(run, at)
    if record is None or not layer:
        st.warning(f"Round {at} of this run cannot be read; its file is damaged or gone.", icon=":material/warning:")
        return
    _write_address(run, at, layer if by_layer else "")
    draw(View(run, data_access.history(run), record, facts, layer))


def kept_layers(run: Run, at: int, layers: Sequence[str]) -> tuple[str, ...]:
    """The layers whose factors a round keeps."""
    return tuple(layer for layer in layers if data_access.factors(run, at, layer)) if run.id == recorded_run.ID else tuple(layers)


def round_control(run: Run) -> int:
    """Play, step back, step on, and the slider; the round that it stands at. Keys: K plays and pauses, J and L step."""
    key = f"round.{run.id}"
    st.session_state[key] = min(max(1, int(st.session_state.get(key, run.done))), run.done)
    _advance(run, key)
    if run.done == 1:
        st.caption("Round 1, the only one so far.")
        return 1
    playing, shown = st.session_state.get(PLAYING, False), st.session_state[key]
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom", key="timeline"):
        st.button("Back", key="back", shortcut="J", help="One round back", on_click=_go, args=(key, shown - 1))
        st.button(
            "Pause" if playing else "Play",
            key="play",
            shortcut="K",
            help="Show the rounds one after the other",
            on_click=_play,
            args=(run, key, not playing),
        )
        st.button("Next", key="on", shortcut="L", help="One round on", on_click=_go, args=(key, shown + 1))
        at = st.slider(
            "Round",
            1,
            run.done,
            key=key,
            persist_state="session",
            help="Travel in time: every chart of the page shows this round.",
        )
    return int(at)


def layer_control(layers: Sequence[str]) -> str:
    """The adapted layer that is looked at."""
    names = layer_names(layers)
    if not layers:
        return ""
    if st.session_state.get("layer") not in layers:
        st.session_state["layer"] = layers[0]
    return str(
        st.selectbox(
            "Layer",
            layers,
            key="layer",
            format_func=lambda name: names.get(name, name),
            help=explain("targets"),
            persist_state="session",
        )
    )


def address(run: Run, at: int, layer: str = "") -> dict[str, str]:
    """What an address says to show the same run, round and layer on another page."""
    return {"run": run.id, "round": str(at)} | ({"layer": layer} if layer else {})


def _timer(run: Run) -> float | None:
    """How often the page looks again: while it plays, and while the run still trains."""
    if st.session_state.get(PLAYING, False):
        return PLAY_SECONDS
    return 2 * POLL_SECONDS if run.active else None  # these pages draw more than others


def _play(run: Run, key: str, on: bool) -> None:
    """Start or stop; from the last round, start at the first."""
    st.session_state[PLAYING], st.session_state[TICKED] = on, time.monotonic()
    if on and st.session_state[key] >= run.done:
        st.session_state[key] = 1


def _go(key: str, to: int) -> None:
    """Go to a round: named, not counted from the slider's, which a quick press sends along before the slider has moved."""
    st.session_state[PLAYING] = False
    st.session_state[key] = to


def _advance(run: Run, key: str) -> None:
    """While it plays: one round on when the time has come, and pause after the last."""
    if not st.session_state.get(PLAYING, False) or time.monotonic() - st.session_state.get(TICKED, 0.0) < 0.8 * PLAY_SECONDS:
        return
    st.session_state[TICKED] = time.monotonic()
    if st.session_state[key] >= run.done:
        st.session_state[PLAYING] = False
        st.rerun()
    st.session_state[key] += 1


def _take_over_address() -> None:
    """Show what a link asks for, once, when it is opened."""
    found = {name: url.asked(name) for name in ("run", "round", "layer")}
    if not any(found.values()) or found == st.session_state.get(ADDRESS):
        return
    st.session_state[ADDRESS] = found
    say_missing([found["run"]])
    run = data_access.find(found["run"])
    if run and run.done and data_access.known(run):
        st.session_state[RUN] = run.id
        if found["round"].isdigit():
            st.session_state[f"round.{run.id}"] = int(found["round"])
    if found["layer"]:
        st.session_state["layer"] = found["layer"]


def _write_address(run: Run, at: int, layer: str) -> None:
    """Keep what is shown in the address, except while it plays: the way back would be one round at a time."""
    if st.session_state.get(PLAYING, False):
        return
    now = address(run, at, layer)
    st.session_state[ADDRESS] = {"run": "", "round": "", "layer": ""} | now
    if any(url.asked(name) != text for name, text in now.items()):
        url.note(**now)

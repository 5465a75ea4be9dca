"""The teacher's view: a room's code, how many chose what, and a link that hides controls. No accounts, no names."""

from collections.abc import Mapping
from urllib.parse import urlsplit

import plotly.graph_objects as go
import streamlit as st

from ilora.experiment import Experiment
from ilora.lab.content.classroom import Classroom, new_room, read_room
from ilora.lab.content.lessons import Lesson, Step, all_lessons
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.controls.experiment_form import CURRENT, HIDABLE
from ilora.lab.dashboard.run_group import POLL_SECONDS
from ilora.lab.figures.frame import BLUE, frame

ROOM = "teach.room"


def room_view() -> None:
    """Open a room, or enter one by its code, and see its answers arrive."""
    st.markdown(
        "Open a room and give its link to the class. Everybody takes the lessons on their own; here you see **how many** chose"
        " what, as it happens, never who. There are no accounts and no names: whoever knows the code sees the counts."
    )
    code = read_room(url.asked("code")) or st.session_state.get(ROOM, "")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.session_state.setdefault("teach.code", code)
        typed = st.text_input("Room code", key="teach.code", max_chars=5, width=160, help="Five letters, to come back to a room.")
        st.button("Enter", key="teach.enter", on_click=_enter, disabled=not read_room(typed))
        st.button("Open a new room", type="primary", key="teach.new", icon=":material/add:", on_click=_enter, args=(new_room(),))
    if not code:
        return
    st.session_state[ROOM] = code
    if url.asked("code") != code:
        url.note(code=code)
    st.caption("The link for the class")
    st.code(url.address("learn", {"room": code}), language=None, wrap_lines=True)
    if urlsplit(st.context.url or "").hostname in ("localhost", "127.0.0.1"):
        st.caption(
            "This address is only this machine's own. For a class, start the app with `--server.address 0.0.0.0` and open this"
            " page under the name that the machine has in the network."
        )
    st.fragment(_answers, run_every=2 * POLL_SECONDS)(code)


def link_builder() -> None:
    """A link to the playground that leaves out the controls which are unticked."""
    st.markdown("#### A link for one exercise")
    st.markdown(
        "Set up the playground as you want the class to find it, come back here, and untick what students should not see."
    )
    with st.container(horizontal=True, gap="medium"):
        shown = [name for name, text in HIDABLE.items() if st.checkbox(text, True, key=f"teach.show.{name}", width="content")]
    hide = [name for name in HIDABLE if name not in shown]
    settings = _playground_settings()
    st.code(url.address("playground", settings | ({"hide": ",".join(hide)} if hide else {})), language=None, wrap_lines=True)
    st.caption(
        "It opens with " + (", ".join(f"{name} = {text}" for name, text in settings.items()) or "the default settings") + "."
    )


def tally(step: Step, counts: Mapping[str, int]) -> go.Figure:
    """How many chose each answer."""
    figure = frame("", height=60 + 44 * len(step.choices), legend=False)
    texts = [text if len(text) < 48 else f"{text[:46]}…" for text in step.choices.values()]
    many = [counts.get(choice, 0) for choice in step.choices]
    figure.add_bar(x=many, y=texts, orientation="h", marker_color=BLUE, text=many, hovertemplate="%{x}<extra>%{y}</extra>")
    figure.update_xaxes(visible=False, rangemode="tozero", range=[0, max(4, *many) + 1])
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def tally_sentence(step: Step, counts: Mapping[str, int]) -> str:
    """The same in words."""
    total = sum(counts.values())
    foreseen = counts.get(step.expected, 0)
    return f"{total} answered, {foreseen} of them what most runs show: {step.choices[step.expected]}"


def _answers(code: str) -> None:
    room = Classroom(data_access.store())
    counts = room.counts(code)
    many = room.learners(code)
    st.markdown(f"**Room {code}** · {many} {'learner has' if many == 1 else 'learners have'} answered so far")
    for lesson in all_lessons().values():
        _lesson(lesson, {step: found for (name, step), found in counts.items() if name == lesson.id})
    if many:
        st.button("Delete this room's answers", icon=":material/delete:", key="teach.close", on_click=room.close, args=(code,))


def _lesson(lesson: Lesson, counts: Mapping[int, Mapping[str, int]]) -> None:
    if not counts:
        return
    st.markdown(f"##### {lesson.title}")
    with st.grid("auto", min_column_width=320, gap="small"):
        for number, found in sorted(counts.items()):
            step = lesson.steps[number]
            draw(f"tally.{lesson.id}.{number}", step.ask, tally(step, found), tally_sentence(step, found))


def _enter(code: str = "") -> None:
    """Enter a room; without a code the one that stands in the field now."""
    if found := read_room(code or st.session_state["teach.code"]):
        st.session_state[ROOM] = st.session_state["teach.code"] = found
        url.note(code=found)


def _playground_settings() -> dict[str, str]:
    """What the playground's controls stand at, if they were ever drawn."""
    experiment = st.session_state.get(CURRENT)
    return experiment.to_query() if isinstance(experiment, Experiment) else {}

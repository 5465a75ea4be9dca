"""Learn: eight lessons; predict, run, observe, explain."""

import streamlit as st

from ilora.classroom import Classroom, new_learner, read_learner, read_room
from ilora.dashboard import lab, link
from ilora.dashboard.lessons import lesson_view, overview
from ilora.dashboard.navigation import title
from ilora.lessons import all_lessons

lesson = all_lessons().get(link.asked("lesson"))
title(lesson.question if lesson else "How does it work?")
room = Classroom(lab.store())
learner = read_learner(link.asked("learner")) or st.session_state.get("learner") or new_learner()
code = read_room(link.kept("room"))
st.session_state["learner"] = learner
if link.asked("learner") != learner:
    link.note(learner=learner)
if lesson:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "All lessons", icon=":material/arrow_back:", type="tertiary", key="learn.back", on_click=link.drop, args=("lesson",)
        )
        st.caption(f"{lesson.title} · {lesson.minutes} minutes" + (f" · room {code}" if code else ""), width="content")
    lesson_view(lesson, room, learner, code)
else:
    st.markdown(
        "Eight short lessons on real training. Each asks what you expect **before** it runs, and then shows what really happens."
        " You need to know what a neural network is; LoRA helps, federated learning is explained."
    )
    overview(room, learner)
    st.caption(
        "Your answers are kept on this server under the random number in this page's address, and under nothing else. Keep the"
        " address to go on another day."
        + (f" You are in room {code}: your teacher sees how many chose what, not who." if code else "")
    )

"""Learn: eight lessons; predict, run, observe, explain."""

import streamlit as st

from ilora.lab.content.classroom import Classroom, new_learner, read_learner, read_room
from ilora.lab.content.lessons import all_lessons
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.learn import lesson_view, overview

lesson = all_lessons().get(url.asked("lesson"))
title(lesson.question if lesson else "How does it work?")
room = Classroom(data_access.store())
learner = read_learner(url.asked("learner")) or st.session_state.get("learner") or new_learner()
code = read_room(url.kept("room"))
st.session_state["learner"] = learner
if url.asked("learner") != learner:
    url.note(learner=learner)
if lesson:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            "All lessons", icon=":material/arrow_back:", type="tertiary", key="learn.back", on_click=url.drop, args=("lesson",)
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

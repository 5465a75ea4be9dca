"""Subspaces: do the clients learn the same directions?"""

from dataclasses import replace

import streamlit as st

from ilora.lab.dashboard.charts.block import chart_block
from ilora.lab.dashboard.charts.subspaces import CLIENT, chosen_client, labels
from ilora.lab.dashboard.charts.view import View
from ilora.lab.dashboard.controls.round_and_layer import SIDES
from ilora.lab.dashboard.controls.run_explorer import explore
from ilora.lab.dashboard.navigation import title


def draw(view: View) -> None:
    """The charts of one round, one layer and one side."""
    sides = list(SIDES)
    st.session_state.setdefault("side", sides[0])
    side = st.segmented_control(
        "Subspaces of",
        sides,
        key="side",
        format_func=SIDES.__getitem__,
        required=True,
        persist_state="session",
        help="An update BA writes into the columns of B and reads along the rows of A. Look at either side.",
    )
    view = replace(view, side=side or sides[0])
    left, right = st.columns(2)
    with left:
        chart_block("alignment", view)
    with right:
        chart_block("angles", view)
    if not view.factors:
        st.info("This round keeps no factors of this layer; train the run anew to see its directions.")
        return
    left, right = st.columns(2)
    with left:
        chart_block("planes", view)
    with right:
        names = labels(view)
        ids = [int(identity) for identity in view.record.clients["id"][: len(names)]]
        st.session_state[CLIENT] = ids[chosen_client(view)]
        st.selectbox(
            "Angles of", ids, key=CLIENT, format_func=lambda k: names[ids.index(k)].capitalize(), persist_state="session"
        )
        chart_block("angle-spectrum", view)
    chart_block("alignment-over-rounds", view)


title("Do the clients learn the same directions?")
st.markdown(
    "What a client of rank r changes in a layer lies in **r directions**, a small subspace. Clients whose subspaces **overlap**"
    " can be merged with little loss; where they do not, a merged adapter of the same rank has to leave something out."
)
explore(draw, factors=True)

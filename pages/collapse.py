"""Rank collapse: how many directions does the server's update use?"""

import streamlit as st

from ilora.lab.dashboard.charts.block import chart_block
from ilora.lab.dashboard.charts.view import View
from ilora.lab.dashboard.controls.run_explorer import explore
from ilora.lab.dashboard.navigation import title


def draw(view: View) -> None:
    """The charts of one round and layer."""
    chart_block("spectra-over-rounds", view)
    for pair in (("energy", "effective-ranks"), ("spectrum", "coverage")):
        for column, name in zip(st.columns(2), pair, strict=True):
            with column:
                chart_block(name, view)


title("How many directions does the update use?")
st.markdown(
    "Clients of a high rank learn more directions than clients of a low rank can hold. If the server's rule dilutes these"
    " directions, the update shrinks round by round to as many directions as the smallest rank. That is **rank collapse**."
)
explore(draw)

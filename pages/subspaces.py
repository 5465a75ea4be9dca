"""Subspaces: do the clients pull in the same directions?"""

import streamlit as st

from ilora.dashboard.blocks import chart_block
from ilora.dashboard.explorer import explore
from ilora.dashboard.navigation import title
from ilora.dashboard.view import View


def draw(view: View) -> None:
    """The charts of one round and layer."""
    left, right = st.columns(2)
    with left:
        chart_block("alignment", view)
    with right:
        chart_block("angles", view)


title("Do the clients pull in the same directions?")
explore(draw, factors=True)

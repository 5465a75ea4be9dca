"""Drift: how far do clients drift from the mean update?"""

import streamlit as st

from ilora.lab.dashboard.charts.block import chart_block
from ilora.lab.dashboard.charts.view import View
from ilora.lab.dashboard.controls.run_explorer import explore, shown_run
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.drift import on_and_off


def draw(view: View) -> None:
    """The charts of one round and layer."""
    if "whole/A" in view.factors:
        chart_block("paths", view)
    else:
        st.info("This run was recorded before paths were kept; train it anew to see where its clients went.")
    _pair("drift", "drift-over-rounds", view)
    if "correction_norm" in view.record.clients:
        _pair("corrections", "turned", view)
    else:
        st.caption("This run's method corrects no gradients, so there is no control variate to draw.")
    chart_block("cosine", view)


def _pair(first: str, second: str, view: View) -> None:
    """Two charts side by side."""
    for column, name in zip(st.columns(2), (first, second), strict=True):
        with column:
            chart_block(name, view)


title("How far do clients drift from the mean update?")
st.markdown(
    "Each client trains on its own samples, so the clients' updates differ. That is **client drift**. The server's step is the"
    " mean of the clients' updates; the more they disagree, the shorter it gets. A **control variate** subtracts a client's own"
    " mean gradient from each step and adds the global one."
)
explore(draw, factors=True)
on_and_off(shown_run().experiment)

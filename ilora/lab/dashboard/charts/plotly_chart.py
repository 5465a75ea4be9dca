"""A plotly figure on the page that changes in place.

`st.plotly_chart` of Streamlit 1.67 takes the old chart off the page and puts a new one there whenever the data change, even
where it has a key: at every round all charts go blank for a moment and the page jumps. This component, forty lines of
chart.js, hands the new data to the chart that is there, drawn by the plotly.js that Streamlit brings. Where a later Streamlit
keeps that file elsewhere, st.plotly_chart takes over.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import plotly.graph_objects as go
import streamlit as st

HTML = '<div class="ilora-chart"></div>'
CSS = """
.ilora-chart { color: var(--st-text-color); transition: color 1ms; width: 100%; }  /* the transition tells of a new theme */
.ilora-chart.at-client .drag { cursor: pointer; }
"""
_component = st.components.v2.component(
    "ilora_chart", html=HTML, css=CSS, js=Path(__file__).with_name("plotly_chart.js").read_text(), isolate_styles=False
)


def show_figure(figure: go.Figure, key: str, alt: str, on_client: Callable[[int], None] | None = None) -> None:
    """Draw the figure, or change the one of that key to it; a click on what stands for a client calls `on_client` with it."""
    file = plotly_file()
    if not file:
        st.plotly_chart(figure, key=key, alt=alt)
        return
    figure.layout.template = None
    height = int(figure.layout.height)
    data = {"figure": figure.to_json(), "alt": alt, "name": key, "height": height, "file": file, "clicks": bool(on_client)}
    _component(key=key, data=data, height=height, on_client_change=on_client and partial(_clicked, key, on_client))


def _clicked(key: str, on_client: Callable[[int], None]) -> None:
    client = st.session_state[key].client
    if client is not None:
        on_client(int(client))


@lru_cache(maxsize=1)
def plotly_file() -> str:
    """The name of the file with plotly.js among those that Streamlit serves; empty if there is none."""
    folder = Path(st.__file__).parent / "static" / "static" / "js"
    return next((path.name for path in folder.glob("PlotlyChart.*.js")), "")

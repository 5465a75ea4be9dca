"""The pages of the app and the door to them."""

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

_ENTERED = "entered"
ICON = Path(__file__).with_name("icon.svg")


def navigation() -> StreamlitPage:
    """The menu; returns the page that was asked for."""
    st.session_state[_ENTERED] = True
    st.set_page_config(page_title="ILoRA Lab", page_icon=str(ICON), layout="wide")
    return st.navigation(
        [
            st.Page(
                "pages/playground.py",
                title="Playground",
                icon=":material/experiment:",
                default=True,
                help="What happens if? Choose clients, ranks and a method, press Run and watch.",
            ),
            st.Page(
                "pages/compare.py",
                title="Compare",
                icon=":material/compare_arrows:",
                help="Two to six methods on the same clients, batches and seed, or runs of your choice.",
            ),
            st.Page(
                "pages/runs.py",
                title="Runs",
                icon=":material/history:",
                help="Everything that was ever run: reopen, compare, rename, export, delete.",
            ),
            st.Page(
                "pages/methods.py",
                title="Methods",
                icon=":material/menu_book:",
                help="What each method does, where it comes from, and its code.",
            ),
        ],
        position="top",
    )


def title(question: str) -> None:
    """Head a page with the question that it answers; every page calls this first.

    When the first visitor of a fresh server opens a page by its own address, Streamlit still takes the folder `pages/` for
    an app of the old kind and runs the page without app.py. Naming the navigation once ends that; then the visit starts anew.
    """
    if _ENTERED not in st.session_state:
        navigation()
        st.rerun()
    st.title(question)

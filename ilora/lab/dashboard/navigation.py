"""The pages of the app and the door to them."""

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from ilora.lab.dashboard.controls.form_field import PRESSED

_ENTERED, _PAGE = "entered", "page.question"
ICON = Path(__file__).with_name("icon.svg")
HOME = "home"
MENU: dict[
    str, dict[str, tuple[str, str, str]]
] = {  # section -> file in pages/ -> title, icon, help; "" stands in the bar itself
    "": {
        "home": ("Home", "home", "What is federated LoRA?"),
        "learn": ("Learn", "school", "Eight short lessons: predict, run, see, understand."),
        "playground": ("Playground", "experiment", "What happens if? Choose clients, ranks and a method, press Run and watch."),
        "compare": (
            "Compare",
            "compare_arrows",
            "Two to eight methods on the same clients, batches and seeds, or runs of your choice.",
        ),
        "runs": ("Runs", "history", "Everything that was ever run: reopen, compare, rename, export, delete."),
    },
    "Look inside": {
        "round": ("One round", "footprint", "What happens in one round, step by step, on real tensors."),
        "aggregation": ("Aggregation", "merge", "Why can't we just average A and B?"),
        "subspaces": ("Subspaces", "rotate_90_degrees_ccw", "Do the clients learn the same directions?"),
        "drift": ("Drift", "call_split", "How far do clients drift from the mean update?"),
        "collapse": ("Rank collapse", "compress", "How many directions does the server's update use?"),
        "data": ("Data", "pie_chart", "Who holds what? Move α and see, without training."),
        "uncertainty": ("Uncertainty", "psychology_alt", "How sure is the model, and should it be?"),
        "rewards": ("Rewards", "thumbs_up_down", "Can a reward teach as well as a label?"),
    },
    "Look up": {
        "methods": ("Methods", "menu_book", "What each method does, where it comes from, and its code."),
        "limits": ("Limits", "warning", "What this cannot show, and where in the code that sits."),
        "teach": ("Teach", "groups", "A room for a class, and links that hide controls."),
        "glossary": ("Glossary", "dictionary", "Every term on the screen, in one or two plain sentences."),
    },
}
MOVED = ("alignment",)  # addresses of earlier versions: files in pages/ too, else a fresh server does not know them


def navigation() -> StreamlitPage:
    """The menu; returns the page that was asked for."""
    st.session_state[_ENTERED] = True
    st.set_page_config(
        page_title="ILoRA Lab", page_icon=str(ICON), layout="wide"
    )  # first: else the page's icon is fetched from afar
    shown = {
        section: [
            st.Page(f"pages/{file}.py", title=name, icon=f":material/{icon}:", help=about, default=file == HOME)
            for file, (name, icon, about) in pages.items()
        ]
        for section, pages in MENU.items()
    }
    shown[""] += [st.Page(f"pages/{file}.py", visibility="hidden") for file in MOVED]
    page = st.navigation(shown, position="top")
    st.set_page_config(page_title=f"{page.title} · ILoRA Lab")
    return page


def moved(file: str) -> None:
    """Open the page that a link means by its old address, with everything else that the link says."""
    _enter()
    st.switch_page(f"pages/{file}.py", query_params=st.query_params.to_dict())


def title(question: str) -> None:
    """Head a page with the question that it answers; every page calls this first."""
    _enter()
    if st.session_state.get(_PAGE) != question:  # another page than before: what was opened there is closed
        st.session_state[_PAGE] = question
        st.session_state.pop(PRESSED, None)
    st.title(question)


def _enter() -> None:
    """Name the navigation once.

    When the first visitor of a fresh server opens a page by its own address, Streamlit still takes the folder `pages/` for
    an app of the old kind and runs the page without app.py. Naming the navigation once ends that; then the visit starts anew.
    """
    if _ENTERED not in st.session_state:
        navigation()
        st.rerun()

"""Methods: what each of them does, where it comes from, and its code."""

import re

import pandas as pd
import streamlit as st

from ilora.lab.content.reading_path import steps
from ilora.lab.dashboard.charts.block import provenance_badge, show_formula, show_sources
from ilora.lab.dashboard.navigation import title
from ilora.methods import METHODS, PROVENANCE, Method, properties
from ilora.methods.ingredients import INGREDIENTS, STAGES

PLAIN = Method(title="")


def card(name: str, method: Method) -> None:
    """One method with everything a reader needs to trust it."""
    with st.container(border=True, key=f"method.{name}"):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f"#### {method.title}", width="content")
            provenance_badge(method)
        where = f"[{method.paper}](https://arxiv.org/abs/{method.paper.removeprefix('arXiv:')})" if method.paper else ""
        st.markdown(f":small[{', '.join(part for part in (method.authors, str(method.year or ''), where) if part)}]")
        st.markdown(method.idea)
        show_formula(method.formula)
        choices = "; ".join(method.choices)
        for label, text in (
            ("Source", linked(method.source)),
            ("Note", method.note),
            ("Ours where the source is silent, or where we depart from it", f"{choices[:1].upper()}{choices[1:]}"),
            ("Cost", method.cost),
        ):
            if text:
                st.markdown(f"**{label}.** {text}")
        recipe(method)


def linked(source: str) -> str:
    """A method's source, each repository in it a link to the commit that was read."""
    repository = r"([\w-]+/[\w-]+)@(\w+)(?::([^\s,]+))?"
    text = re.sub(repository, r"[\1@\2](https://github.com/\1/tree/\2) `\3`", source).replace(" ``", "")
    return f"{text[:1].upper()}{text[1:]}"


def recipe(method: Method) -> None:
    """The ingredients in which a method differs from plain averaging, each with its formula and code."""
    own = {stage: key for stage, key in method.ingredients.items() if key != getattr(PLAIN, stage)}
    with st.expander("Recipe and code", icon=":material/code:"):
        st.caption("Plain federated averaging in every stage." if not own else "Where it differs from plain federated averaging:")
        for stage, key in own.items() if own else {"aggregate": method.aggregate}.items():
            ingredient = INGREDIENTS[stage][key]
            st.markdown(f"**{stage.capitalize()}: {ingredient.title}.** {ingredient.idea}")
            show_formula(ingredient.formula)
            if isinstance(ingredient.source, str):
                show_sources((ingredient.source,))


def table(methods: dict[str, Method]) -> pd.DataFrame:
    """One row per method: where it comes from, and its ingredient in the stages that tell methods apart."""
    rows = [
        {
            "Method": method.title,
            "Authors": method.authors,
            "Year": method.year or None,
            "Formulas": PROVENANCE[method.provenance_of()],
            "Source": method.source,
            **{stage.capitalize(): INGREDIENTS[stage][key].title for stage, key in method.ingredients.items()},
            "Exact?": properties.exact(method),
            "Mixed ranks": properties.mixed_ranks(method),
            "Merged into the base": properties.merges(method),
            "Download, floats": properties.download(method),
            "Model": "one for each client" if method.personalised else "one for all",
            "Learns from": "rewards" if method.learns_from_reward else "labels",
            "Cost of a round": method.cost,
        }
        for method in methods.values()
    ]
    return pd.DataFrame(rows)


def read_the_algorithm() -> None:
    """The functions that a round of ILoRA enters, in the paper's order, and the code of the one that is chosen."""
    path = {f"{step.heading}: {step.source.split(':')[1]}": step for step in steps()}
    chosen = path[st.selectbox("Step", list(path), key="methods.step")]
    st.markdown(chosen.what + (f" :gray-badge[{chosen.formula}]" if chosen.formula else ""))
    show_sources((chosen.source,))


title("What does each method do?")
st.caption(
    f"A method is a recipe: one ingredient for each of {len(STAGES)} stages of a round."
    " The badge says where its formulas come from."
)
with st.expander("Read the algorithm: one round of ILoRA, function by function", icon=":material/menu_book:", key="methods.path"):
    read_the_algorithm()
asked = st.text_input(
    "Find", type="search", key="methods.find", placeholder="title, author or idea", live="300ms", label_visibility="collapsed"
)
view = st.segmented_control("Show as", ["Cards", "Table"], default="Cards", required=True, key="methods.view")
found = {
    name: method
    for name, method in METHODS.items()
    if asked.lower() in f"{name} {method.title} {method.authors} {method.idea}".lower()
}
if not found:
    st.info("No method fits these words.")
elif view == "Table":
    st.dataframe(table(found), hide_index=True, height="content")
    st.caption(
        "Click a heading to sort. Exact: whether the server holds the mean, by samples, of what the clients learned. Download is"
        " for each layer and client, without the head; rho is the sum of the round's ranks, R the largest, p what a threshold"
        " keeps."
    )
else:
    for name, method in found.items():
        card(name, method)

"""Blocks of a page: a chart with its sentence and explanation, the row of headline numbers, the badge of a method."""

import re
from collections.abc import Callable
from typing import Literal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.analysis.measures import measure_of, with_totals
from ilora.lab.captions.rounds import left_out, moved
from ilora.lab.content.glossary import explain_all
from ilora.lab.content.source import source_of
from ilora.lab.dashboard.charts.catalogue import reading
from ilora.lab.dashboard.charts.downloads import chart_export
from ilora.lab.dashboard.charts.plotly_chart import show_figure
from ilora.lab.dashboard.charts.view import Chart, Reading, View
from ilora.methods import METHODS, PROVENANCE, Method
from ilora.records import Round, main_score

_PARTS = re.compile(r"[;,]\s*\\(?:;|quad|qquad)\s*")
BADGES: dict[str, tuple[Literal["green", "orange", "violet"], str]] = {
    "code": ("green", ":material/verified:"),
    "paper": ("green", ":material/article:"),
    "secondary": ("orange", ":material/format_quote:"),
    "reconstruction": ("orange", ":material/construction:"),
    "corrected": ("orange", ":material/build:"),
    "own": ("violet", ":material/person:"),
}
SHORT = {  # of a provenance that is too long for a badge on a phone
    "reconstruction": "reconstruction: the paper's idea in our form",
    "corrected": "corrected implementation (details in the popover)",
}


def chart_block(name: str, view: View) -> None:
    """One chart of the catalogue for what is looked at."""
    chart = reading(name, main_score(view.history.columns))
    draw(f"chart.{name}", chart.title, chart.figure(view), chart.sentence(view), chart)


def draw(
    key: str,
    title: str,
    figure: go.Figure,
    sentence: str,
    chart: Chart | Reading | None = None,
    on_client: Callable[[int], None] | None = None,
) -> None:
    """A titled figure, the sentence under it, and behind a popover how to read it; `on_client` is told of a click on a client."""
    with st.container(border=True, height="stretch", key=f"block.{key}"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"##### {title}", help=explain_all(f"{title}. {chart.reading if chart else ''}") or None)
            with st.container(horizontal=True, gap="small", width="content"):
                if chart:
                    explanation(chart)
                chart_export(key, title, figure, sentence)
        show_figure(figure, key, sentence, on_client)
        st.caption(sentence)


def explanation(chart: Chart | Reading) -> None:
    """How to read a chart, its formula, and the code that computed it."""
    with st.popover("How to read", type="tertiary", icon=":material/help:"):
        st.markdown(chart.reading)
        show_formula(chart.formula)
        show_sources(chart.sources)


def show_formula(formula: str) -> None:
    """A formula; its parts stand in a row where there is room, and under each other on a phone."""
    with st.container(horizontal=True, horizontal_alignment="center", vertical_alignment="center", gap="medium"):
        for part in filter(None, _PARTS.split(formula)):
            st.latex(part, width="content")


def show_sources(sources: tuple[str, ...]) -> None:
    """The code behind a number, as it stands in this installation."""
    for source in sources:
        try:
            code = source_of(source)
        except LookupError:
            continue
        st.caption(f"Computed by `{source.replace(':', '.')}`")
        st.code(code, language="python", wrap_lines=True)


def headline(history: pd.DataFrame, record: Round) -> None:
    """The numbers of a round that matter first, with units and with the change since the round before."""
    table = with_totals(history).set_index("index", drop=False)
    now = _row(table, record.index)
    before = _row(table, record.index - 1) if record.index - 1 in table.index else None
    with st.grid("auto", min_column_width=150, gap="small"):
        main = main_score(table.columns)
        _number(main, now, before, "points" if measure_of(main).unit == "%" else "")
        _number("aggregation_error", now, before, "points")
        _number("alignment", now, note="it takes two clients" if pd.isna(now["chance"]) else f"chance {now['chance']:.2f}")
        _number("drift", now, before)
        _number("megabytes_up", now, note=f"{now['bytes_up'] / 1e6:.2f} MB per round")


def _row(table: pd.DataFrame, index: int) -> dict[str, float]:
    return {name: float(table[name].loc[index]) for name in table.columns}


def _number(
    name: str, now: dict[str, float], before: dict[str, float] | None = None, unit: str = "", note: str | None = None
) -> None:
    words = measure_of(name)
    delta: str | int | None = None
    if before is not None and not pd.isna(now[name]) and not pd.isna(before[name]):
        change = f"{(now[name] - before[name]) * words.scale:+.{words.digits}f}"
        delta = 0 if float(change) == 0 else f"{change} {unit}".strip()
    colour: Literal["normal", "inverse", "off"] = "off"
    if words.better:
        colour = "normal" if words.better == "higher" else "inverse"
    st.metric(
        words.title,
        words.show(now[name]),
        delta,
        delta_color=colour,
        delta_description=note,
        height="stretch",
        help=explain_all(words.title) or words.about,
    )


def provenance_badge(method: Method, mode: str = "") -> None:
    """Where the formulas of a method, in one of its modes, come from."""
    provenance = method.provenance_of(mode)
    colour, icon = BADGES[provenance]
    words, whole = SHORT.get(provenance), PROVENANCE[provenance]
    label = words or whole
    st.badge(label[0].upper() + label[1:], icon=icon, color=colour, help=f"{whole[0].upper()}{whole[1:]}." if words else None)


def method_line(name: str, mode: str, record: Round) -> None:
    """The method of a run, how far it can be trusted, and by how much it moves the model without learning."""
    method = METHODS[name]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{method.title}**" + (f", {mode or next(iter(method.modes))}" if method.modes else ""), width="content")
        provenance_badge(method, mode)
        with st.popover("About", type="tertiary", icon=":material/info:"):
            st.markdown(method.idea)
            show_formula(method.formula)
            st.markdown(method.note)
    if said := moved(record):
        st.caption(said)


def welcome_picture(experiment: Experiment | None, sentence: str, on_client: Callable[[int], None] | None = None) -> None:
    """The set-up in a picture that follows the settings, before anything has been run."""
    shown = experiment or Experiment()
    figure = figures.idea(shown.client_ranks, shown.left_out)
    sentence += left_out((), shown.left_out)
    draw("idea", "Many clients, one backbone, adapters of different ranks", figure, sentence, on_client=on_client)

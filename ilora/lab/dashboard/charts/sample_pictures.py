"""Some of every client's training samples: a card for each client, with its pictures or its sentences."""

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import streamlit as st

from ilora.clients.partition import Dealt
from ilora.lab.analysis.shown_samples import Shown
from ilora.lab.captions.data import samples_shown
from ilora.lab.captions.words import client_name
from ilora.lab.content.data_preview import address, sheet, some_of
from ilora.lab.dashboard.charts.block import explanation
from ilora.lab.dashboard.charts.view import Reading
from ilora.records import Array, RunFacts

ROWS, COLUMNS = 2, 5  # of pictures
SENTENCES, MOST_CARDS = 3, 12
MOST_LETTERS = 180  # of a sentence
CARD_WIDTH = 360  # pixels
COLOURS: tuple[Literal["blue", "orange", "green", "violet", "gray"], ...] = ("blue", "orange", "green", "violet", "gray")
READING = Reading(
    "Real training samples of each client, sorted by class and spread evenly over all that it holds, under the labels that it"
    " trains on. Under attribute skew they stand in the client's own style.",
    "",
    ("ilora.lab.content.data_preview:some_of",),
)


def cards(facts: RunFacts, held: Dealt, shown: Shown) -> None:
    """What the first clients hold, to look at."""
    count = min(facts.clients, MOST_CARDS)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("What it looks like" if shown.pictures is not None else "What it reads like")
        explanation(READING)
    st.caption(samples_shown(facts, count))
    with st.grid("auto", min_column_width=CARD_WIDTH, gap="small"):
        for k in range(count):
            with st.container(border=True, height="stretch", key=f"data.card.{k}"):
                _card(k, facts, held, shown)


def _card(k: int, facts: RunFacts, held: Dealt, shown: Shown) -> None:
    name = client_name(k, facts.ranks[k])
    style = held.styles[k] if held.styles else ""
    word = "style" if shown.pictures is not None else "dialect"
    labels = "labels at random" if k in held.noisy else ""
    about = [f"{int(facts.samples[k]):,} samples", f"{word}: {style}" if style else "", labels]
    st.markdown(f"**{name.capitalize()}** · {' · '.join(filter(None, about))}")
    if shown.pictures is not None:
        _show_pictures(name, held, shown, some_of(held.groups, held.shares[k], ROWS * COLUMNS), style)
    else:
        _show_sentences(held, shown, some_of(held.groups, held.shares[k], SENTENCES), style)


def _show_pictures(name: str, held: Dealt, shown: Shown, samples: Array, style: str) -> None:
    """Rows of pictures, and under them of which classes they are."""
    counted = Counter(held.classes[label] for label in held.labels[samples])
    said = ", ".join(label if count == 1 else f"{label} ({count})" for label, count in counted.items())
    st.image(
        address(sheet(shown.seen(samples, style), ROWS, COLUMNS)),
        caption=said,
        alt=f"{len(samples)} training pictures of {name}: {said}",
        width="stretch",
    )


def _show_sentences(held: Dealt, shown: Shown, samples: Array, style: str) -> None:
    """Sentences, or pairs of them, each under its label."""
    for sample in samples:
        with st.container(gap="xxsmall"):
            colour = COLOURS[int(held.groups[sample]) % len(COLOURS)]
            st.badge(label_name(held, sample), color=colour)
            show_text([shorten(text) for text in shown.said(sample, style)])


def show_text(said: Sequence[str]) -> None:
    """A sentence as it stands in the file, or the numbered two of a pair."""
    for number, text in enumerate(said, 1):
        st.text(text if len(said) == 1 else f"{number}. {text}")


def label_name(held: Dealt, sample: int) -> str:
    """A sample's label as its client holds it: the class in words, or the number with its scale."""
    label = held.labels[sample]
    return f"score {label:.1f} of 5" if np.issubdtype(held.labels.dtype, np.floating) else held.classes[label]


def shorten(text: str) -> str:
    """A sentence cut at a word where it is long."""
    return text if len(text) <= MOST_LETTERS else text[:MOST_LETTERS].rsplit(" ", 1)[0] + " …"

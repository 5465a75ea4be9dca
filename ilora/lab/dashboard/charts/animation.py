"""The film on the first page: rounds of the recorded run, phase by phase, drawn in the browser without asking the server."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import streamlit as st

from ilora.lab.captions import animation
from ilora.lab.content import recorded_run
from ilora.lab.dashboard.charts.plotly_chart import CSS, plotly_file
from ilora.lab.figures.animation import PHASES, STORY_HEIGHT, story

SLOW_ROUNDS = 2  # told phase by phase; of the others only how they end
MILLISECONDS = 1_800
HTML = """<div class="ilora-film"><div class="ilora-chart"></div><p></p>
<div><button type="button">Back</button><button type="button">Play</button><button type="button">Next</button></div></div>"""
STYLE = """.ilora-film p { min-height: 3.2em; margin: 0 0 .5rem; color: var(--st-text-color); }
.ilora-film div:last-child { display: flex; gap: .5rem; }
.ilora-film button { padding: .4rem .9rem; min-width: 6rem; font: inherit; color: var(--st-text-color); cursor: pointer;
  background: var(--st-background-color); border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); }
.ilora-film button:disabled { opacity: .5; cursor: default; }
.ilora-film button:hover:enabled { border-color: var(--st-primary-color); }
.ilora-film button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }"""
HERE = Path(__file__).parent
_film = st.components.v2.component(
    "ilora_film",
    html=HTML,
    css=CSS + STYLE,
    js=(HERE / "plotly_chart.js").read_text().split("export default")[0]
    + (HERE / "animation.js").read_text(),  # one way to draw, two to show
    isolate_styles=False,
)


def show_film() -> None:
    """The film of the recorded run."""
    shown = frames()
    _film(
        key="film",
        height="content",
        data={
            "frames": list(shown),
            "file": plotly_file(),
            "alt": shown[-1]["caption"],
            "height": STORY_HEIGHT,
            "milliseconds": MILLISECONDS,
        },
    )


@lru_cache(maxsize=1)
def frames() -> tuple[dict[str, Any], ...]:
    """Every picture with its caption."""
    facts, made = recorded_run.facts(), []
    before: float | None = None
    for index in range(1, recorded_run.run().done + 1):
        record = recorded_run.round(index)
        for phase in PHASES if index <= SLOW_ROUNDS else PHASES[-1:]:
            accuracy = record.accuracy if phase == "merge" else before
            figure = story(record, facts, phase, accuracy)
            figure.layout.template = None
            made.append({"figure": figure.to_json(), "caption": animation.story(record, facts, phase)})
        before = record.accuracy
    return tuple(made)

"""View and Chart: what is looked at, and a picture of it with all that a reader needs to trust it."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from ilora.lab.dashboard import data_access
from ilora.lab.figures import Trace
from ilora.lab.runs.store import Run
from ilora.records import Array, Round, RunFacts


@dataclass(frozen=True)
class View:
    """One run, looked at in one round, one layer and one side of its subspaces."""

    run: Run
    history: pd.DataFrame
    record: Round
    facts: RunFacts
    layer: str
    side: str = "columns"
    ghost: Run | None = None  # another run, drawn pale behind this one

    @property
    def at(self) -> int:
        """The round that is looked at."""
        return self.record.index

    @property
    def factors(self) -> dict[str, Array]:
        """The layer's factors in that round, by "<stage>/<A or B>"; empty where none are kept."""
        return data_access.factors(self.run, self.at, self.layer)

    @property
    def trace(self) -> Trace:
        """The run as a line over its rounds."""
        return Trace(self.run.name, self.run.experiment.method, self.history)

    @property
    def traces(self) -> list[Trace]:
        """The run, and the ghost behind it in grey."""
        ghost = self.ghost
        return [self.trace] + ([Trace(f"pinned: {ghost.name}", "", data_access.history(ghost))] if ghost and ghost.done else [])


@dataclass(frozen=True)
class Reading:
    """How to read a picture, its formula, and where it was computed."""

    reading: str
    formula: str = ""
    sources: tuple[str, ...] = ()  # "module:name" of what computed it


@dataclass(frozen=True)
class Chart:
    """A chart of one run, with all that a reader needs to trust it."""

    title: str
    figure: Callable[[View], go.Figure]
    sentence: Callable[[View], str]
    reading: str
    formula: str = ""
    sources: tuple[str, ...] = ()  # "module:name" of what computed it

"""Runs an experiment in this process: round by round, or all at once with a Result at the end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilora.experiment import Experiment
from ilora.records import Round
from ilora.simulation import Simulation
from ilora.snapshot import Snapshot

if TYPE_CHECKING:
    import pandas as pd

    from ilora.peft_export import Adapter


def simulate(experiment: Experiment, snapshot: Snapshot | None = None) -> Iterator[Round]:
    """Train round after round and yield each; from `snapshot`, the rounds that are left."""
    simulation = Simulation(experiment, snapshot)
    while simulation.index < experiment.rounds:
        yield simulation.next_round()


@dataclass(frozen=True)
class Result:
    """A finished run: its rounds, their metrics as a table, and the server's adapters."""

    experiment: Experiment
    rounds: list[Round]
    simulation: Simulation

    @property
    def history(self) -> "pd.DataFrame":
        """One row per round, one column per metric."""
        import pandas as pd

        return pd.DataFrame([round.metrics() for round in self.rounds]).set_index("index")

    def adapter(self, rank: int | None = None) -> "Adapter":
        """What a client of `rank` (the server's by default) receives after the last round, for peft."""
        from ilora.peft_export import export

        return export(self.simulation, self.simulation.rank if rank is None else rank)


def run(experiment: Experiment) -> Result:
    """Train all rounds of an experiment in this process."""
    simulation = Simulation(experiment)
    rounds = [simulation.next_round() for _ in range(experiment.rounds)]
    return Result(experiment, rounds, simulation)

"""How the archives in this folder were made, once, with the code of version 0.1.0: `python -m tests.stored.make`.

Each is a short run of four rounds that was stopped after two and exported as the lab exports any run. `expected.json` holds what
the same code found in rounds 3 and 4 when it went on from there. Later code must open the archives and find the same, which
`tests/test_stored.py` checks; so they are never made anew, only added to: `python -m tests.stored.make NAME...` makes the runs
of these names and leaves the others as they are. All but one run leave out the pictures of the factors, which nothing needs to
go on.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ilora import Experiment
from ilora.lab.runs.archive import export_run
from ilora.lab.runs.leases import end
from ilora.lab.runs.store import Store
from ilora.records import Round
from ilora.simulation.round_loop import Simulation

FOLDER = Path(__file__).parent
EXPECTED = FOLDER / "expected.json"
KEPT, ROUNDS = 2, 4
NEVER_COMPARED = ("seconds", "peak_megabytes")  # of the machine, not of the run
WITH_FACTORS = "ilora"
COMMON: dict[str, Any] = {
    "task": "digits", "ranks": [2, 3, 1, 2], "targets": ["query"], "alpha": 0.5, "participation": 0.5, "seed": 112,
    "rounds": ROUNDS, "local_steps": 2, "batch_size": 4, "lr": 0.1, "device": "cpu", "optimizer": "sgd",
}  # fmt: skip
# of seed 112: clients 1 and 2, then 0 and 2, then 0 and 1 again, and at last 1 with 3, which nobody has seen before
ADAMW: dict[str, Any] = {"optimizer": "adamw", "lr": 0.01}
RUNS: dict[str, dict[str, Any]] = {
    # without memory between rounds but the server's factors
    "fedit": {},
    "flexlora": ADAMW | {"scaling": "4/r"},
    "rolora": {},
    "raflora": {},
    "lora-a2": {},
    "haflq": {},
    "fedrot-lora": {},
    # with a base that rounds change
    "flora": {},
    "florist": {},
    "fedex-lora": {},
    "fedhl": {"options": {"weighting": "inverse-truncation"}},
    # with offsets that stay cut out
    "ilora": ADAMW,
    "ilora-paper": {"method": "ilora", "options": {"mode": "paper"}},
    "ilora-official": {"method": "ilora", "options": {"mode": "official"}},
    # with ranks that shrink
    "hetlora": {"options": {"least_rank": 1, "gamma": 0.6, "tail_weight": 1.0}},
    "aflora": {"options": {"threshold": 0.8}},
    # with what clients remember
    "fedsa-lora": {},
    "scaffold": {},
    "feddyn": {},
    "feddyn-factor": {"method": "feddyn", "options": {"space": "factor"}},
    "fedvra": {},
    "moon": {},
    "ri-fedavg": {"options": {"directions": 4, "points": 5, "normalise": "none"}},
    "co-pfl": ADAMW | {"options": {"refresh": 1}},
    "dfl": ADAMW | {"skew": "attribute"},
    # with what the server remembers
    "fedadam": {},
    "fedadamw": ADAMW,
    "fslora": {},
    # whose weights set in with the rounds
    "flood": {"options": {"warmup": 2}},
    # with several members, or with rewards
    "lora-ensemble": {"options": {"members": 2}},
    "ensemble-of-control-variates": {
        "method": "lora-ensemble", "options": {"members": 2, "correction": "control-variates", "aggregate": "mean-and-residual"},
    },
    "aer": {"options": {"kl": 0.1}},
    "mor": {},
    "mor-uniform": {"method": "mor", "options": {"reward": "uniform"}},
    # swapped ingredients
    "feddyn-with-adam": {"method": "fedadam", "options": {"objective": "dual", "correction": "scaffold"}},
}  # fmt: skip


def experiment_of(name: str) -> Experiment:
    """The experiment behind the archive of that name."""
    return Experiment(**({"method": name} | COMMON | RUNS[name]))


def numbers_of(record: Round) -> dict[str, Any]:
    """The scalars of a round and its columns with one number for each client, as JSON holds them."""
    metrics = {name: value for name, value in record.metrics().items() if name not in NEVER_COMPARED}
    columns = {name: np.asarray(column) for name, column in record.clients.items()}
    return {"metrics": metrics, "clients": {name: column.tolist() for name, column in columns.items() if column.ndim == 1}}


def make(name: str) -> list[dict[str, Any]]:
    """Train the first rounds, export them to NAME.zip, and return the numbers of the rounds that follow."""
    experiment = experiment_of(name)
    simulation = Simulation(experiment)
    with tempfile.TemporaryDirectory() as home:
        store = Store(Path(home))
        run_id = store.add(experiment, worker="maker")
        store.save_facts(run_id, simulation.facts)
        for _ in range(KEPT):
            record = simulation.next_round()
            store.save_round(run_id, record if name == WITH_FACTORS else replace(record, factors={}), "maker")
        end(store, run_id, "maker", "stopped")
        export_run(store, run_id, FOLDER / f"{name}.zip")
    return [numbers_of(simulation.next_round()) for _ in range(KEPT, ROUNDS)]


def main() -> None:
    """Make the runs that are named, or all of them."""
    torch.set_num_threads(1)
    expected = json.loads(EXPECTED.read_text(encoding="utf-8")) if EXPECTED.exists() else {}
    for name in sys.argv[1:] or RUNS:
        expected[name] = make(name)
        print(f"{name}: {(FOLDER / f'{name}.zip').stat().st_size:,} bytes")
    lines = [f"{json.dumps(name)}: {json.dumps(expected[name])}" for name in sorted(expected)]
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

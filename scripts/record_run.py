"""Record the default experiment for the app to show before anybody has run anything: `python scripts/record_run.py`.

Writes data/recorded-run.zip, a run as `ilora.lab.runs.archive` exports it, made small: factors in float16, of three layers.
"""

import io
import json
import zipfile
from pathlib import Path

from safetensors.numpy import save

from ilora.experiment import Experiment
from ilora.lab.content.recorded_run import FILE
from ilora.lab.runs.archive import FORMAT
from ilora.records import Round
from ilora.simulation.round_loop import Simulation
from ilora.tensor_files import FORMAT as TENSORS


def shrunk(round: Round) -> bytes:
    """The arrays of a round as a safetensors file."""
    names = list(round.layers)
    kept = {names[0], names[len(names) // 2], names[-1]}
    arrays = {
        name: array.astype("float16") if name.startswith("factors/") else array
        for name, array in round.arrays().items()
        if not name.startswith("factors/") or name.removeprefix("factors/").rsplit("/", 2)[0] in kept
    }
    return save(arrays, {"format": TENSORS, "order": json.dumps(list(arrays))})


def main() -> None:
    """Run the default experiment and write it down."""
    simulation = Simulation(Experiment(device="cpu"))
    rounds = [simulation.next_round() for _ in range(simulation.experiment.rounds)]
    about = {
        "format": FORMAT,
        "name": "A recorded run of the default experiment",
        "note": "",
        "experiment": simulation.experiment.to_dict(),
        "facts": json.loads(simulation.facts.to_json()),
        "times": {"created": 0.0, "started": None, "ended": None, "seconds_per_round": None},
        "rounds": [round.metrics() for round in rounds],
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("run.json", json.dumps(about))
        for round in rounds:
            archive.writestr(f"round-{round.index:04d}.safetensors", shrunk(round))
    Path(FILE).write_bytes(file.getvalue())
    print(f"{FILE}: {len(file.getvalue()) / 1e6:.2f} MB, {rounds[-1].metric} {rounds[-1].score:.3f}")


if __name__ == "__main__":
    main()

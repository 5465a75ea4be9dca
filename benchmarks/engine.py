"""Client-steps per second: all clients at once against stock peft, one client after another, on the same work in one run.

`python -m benchmarks.engine` checks first that both engines end at the same factors, then times them in alternation and
prints a table for docs/benchmarks.md (`--clients 2 --steps 1 --repeats 1` is over in seconds). The reference builds a peft
model for each client, as a simulation on stock peft does; a second column takes that set-up out.
"""

import argparse
import platform
import statistics
import time
import warnings
from collections.abc import Sequence

import torch

from ilora import Experiment
from ilora.simulation.client_round import local_work, view_of
from ilora.simulation.local_clients import LocalClients
from ilora.simulation.round_loop import Simulation
from ilora.training.local_work import LocalWork, Trained

TOLERANCE = 1e-5


def work_of(simulation: Simulation) -> LocalWork:
    """The first round's local work."""
    clients = simulation.clients
    assert isinstance(clients, LocalClients)
    side, everyone = clients.sides[0], range(simulation.setting.clients)
    view = view_of(side, simulation.server.broadcast(everyone), clients.memories[0])
    view.work.shared = side.stages.sharing(view)
    return local_work(side, view)


def timed(simulation: Simulation, work: LocalWork) -> tuple[float, Trained]:
    """Seconds of one call, and what came out."""
    began = time.perf_counter()
    trained = simulation.engine.train(work, lambda done, of: None)
    return time.perf_counter() - began, trained


def largest_difference(one: Trained, other: Trained) -> float:
    """The largest difference between the factors and heads of both."""
    return max(float((one.parameters[name] - other.parameters[name]).abs().max()) for name in one.parameters)


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def compare(clients: int, steps: int, repeats: int) -> str:
    """One row of the table for K = `clients`."""
    experiment = Experiment(ranks="spread", clients=clients, method="fedit", local_steps=steps, skew="iid")
    stacked, one_by_one = Simulation(experiment), Simulation(experiment.replace(engine="sequential"))
    work = work_of(stacked)
    idle = work.part(slice(0))
    client_steps = clients * steps
    apart = largest_difference(timed(stacked, work)[1], timed(one_by_one, work)[1])
    if apart > TOLERANCE:
        raise SystemExit(
            f"The engines end {apart:.1e} apart at K = {clients}; allowed is {TOLERANCE:.0e}. No figure is worth anything."
        )
    ours, theirs, bare = [], [], []
    for _ in range(repeats):
        ours.append(client_steps / timed(stacked, work)[0])
        seconds = timed(one_by_one, work)[0]
        theirs.append(client_steps / seconds)
        bare.append(client_steps / (seconds - timed(one_by_one, idle)[0]))
    ratios = [f"{statistics.median([a / b for a, b in zip(ours, other, strict=True)]):.1f}x" for other in (theirs, bare)]
    return f"| {clients} | {spread(ours)} | {spread(theirs)} | {spread(bare)} | {ratios[0]} | {ratios[1]} | {apart:.0e} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table that the arguments, else the command line's, ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", default="10,50", help="numbers of clients, comma-separated")
    parser.add_argument("--steps", type=int, default=10, help="local steps of batch 16")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(asked.threads)
    print(f"torch {torch.__version__}, {platform.machine()}, {asked.threads} threads; {asked.steps} steps of batch 16,")
    print("ranks 2, 4, 8, 16 in turn, AdamW, float32; client-steps per second,")
    print(f"median (range) of {asked.repeats} alternating repeats")
    print()
    print("| clients | all at once | stock peft | stock peft, no set-up | ratio | ratio, no set-up | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for clients in map(int, asked.clients.split(",")):
        print(compare(clients, asked.steps, asked.repeats), flush=True)


if __name__ == "__main__":
    main()

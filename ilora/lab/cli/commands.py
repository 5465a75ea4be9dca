"""What each verb of the command line does; torch is imported only by those that train."""

import argparse
from pathlib import Path

from ilora.checks import FieldError, allow, whole
from ilora.lab.cli.flags import read_experiment, written
from ilora.methods import METHODS


def run(chosen: argparse.Namespace) -> int:
    """Train one experiment in this process."""
    experiment = read_experiment(chosen, mode=chosen.mode)
    from ilora.lab.cli.local_run import train_here

    return train_here(experiment, chosen.name, chosen.json)


def resume(chosen: argparse.Namespace) -> int:
    """Go on with a stored run in this process."""
    from ilora.lab.runs.store import Store

    Store().run(chosen.id)  # an unknown one is refused before torch is loaded
    from ilora.lab.cli.local_run import resume_here

    return resume_here(chosen.id, once=chosen.verb == "step")


def compare(chosen: argparse.Namespace) -> int:
    """Train one method after the other, and print a table; or a whole suite."""
    if chosen.suite:
        return _suite(chosen)
    experiments = []
    for entry in dict.fromkeys(part.strip() for part in chosen.methods.split(",")):
        method, _, mode = entry.partition(":")
        experiments.append(read_experiment(chosen, method, mode or None))
    if aside := [e.method for e in experiments if METHODS[e.method].learns_from_reward]:
        allowed = "methods that learn from labels"
        sentence = f"methods names {aside[0]!r}, which learns from a reward; allowed are {allowed}."
        raise FieldError("methods", chosen.methods, allowed, sentence)
    if chosen.csv:
        _check_target("csv", chosen.csv)
    from ilora.lab.cli.local_run import compare_here

    return compare_here(experiments, chosen.csv)


def _check_target(name: str, file: str) -> None:
    """FieldError for a file that cannot be written because its folder is not there, before hours of training."""
    allow(Path(file).resolve().parent.is_dir(), name, file, "a file in a folder that exists")


def _suite(chosen: argparse.Namespace) -> int:
    """Train every method over several seeds in worker processes, and write the document with their table."""
    whole("seeds", chosen.seeds, 2, 100)
    _check_target("out", chosen.out)
    if chosen.suite == "tasks":
        from ilora.lab.suites.over_tasks import write_task_results

        columns = write_task_results(Path(chosen.out), read_experiment(chosen), chosen.seeds)
        print(f"{chosen.out}: {len(columns)} tasks, {chosen.seeds} seeds each.")
        return 0
    from ilora.lab.suites.over_seeds import write_results

    frame = write_results(Path(chosen.out), read_experiment(chosen), list(METHODS), chosen.seeds)
    print(f"{chosen.out}: {len(frame)} rows, {chosen.seeds} seeds each; {frame.iloc[0]['method']} has the highest mean accuracy.")
    return 0


def want(chosen: argparse.Namespace) -> int:
    """Pause or stop a run, wherever it trains."""
    from ilora.lab.runs import leases, pool
    from ilora.lab.runs.store import Store

    store = Store()
    pool.sweep(store)
    leases.want(store, chosen.id, chosen.verb)
    print(f"{chosen.id}: {chosen.verb} is wanted; the run is {store.run(chosen.id).status}.")
    return 0


def delete(chosen: argparse.Namespace) -> int:
    """Delete runs."""
    from ilora.lab.runs import pool
    from ilora.lab.runs.store import Store

    store = Store()
    pool.sweep(store)
    for run_id in chosen.ids:
        store.delete(run_id)
        print(f"deleted {run_id}")
    return 0


def export(chosen: argparse.Namespace) -> int:
    """Write a run into a zip file."""
    from ilora.lab.runs.archive import export_run
    from ilora.lab.runs.store import Store

    export_run(Store(), chosen.id, Path(chosen.file))
    print(f"wrote {chosen.file}")
    return 0


def adapter(chosen: argparse.Namespace) -> int:
    """Write a run's adapter after its last finished round into a folder."""
    from ilora.lab.runs.store import Store, StoreError

    store = Store()
    run, snapshot = store.run(chosen.id), store.snapshot(chosen.id)
    if snapshot is None:
        raise StoreError(f"run {run.id} has no finished round yet; wait for one.")
    from ilora.simulation.peft_export import export
    from ilora.simulation.round_loop import Simulation

    simulation = Simulation(run.experiment, snapshot)
    most = simulation.server.rank
    rank = most if chosen.rank is None else whole("rank", chosen.rank, 1, most)
    learned = export(simulation, rank)
    with written("folder", chosen.folder):
        Path(chosen.folder).mkdir(parents=True, exist_ok=True)
        learned.save_pretrained(chosen.folder)
    print(f"wrote the adapter of {run.id} after round {run.done} to {chosen.folder}")
    return 0


def import_(chosen: argparse.Namespace) -> int:
    """Read a run from a zip file."""
    from ilora.lab.runs.archive import import_run
    from ilora.lab.runs.store import Store

    print(f"imported as {import_run(Store(), Path(chosen.file))}")
    return 0


def worker(chosen: argparse.Namespace) -> int:
    """Be a worker process."""
    from ilora.lab.runs.leases import new_id
    from ilora.lab.runs.store import Store
    from ilora.lab.runs.worker import serve

    serve(Store(), chosen.id or new_id("worker"), chosen.launcher, chosen.idle_seconds)
    return 0

"""The command line: `python -m ilora run|compare|methods|presets|runs|resume|step|pause|stop|export|adapter|import|delete`.

Wrong values end with one sentence on stderr and exit code 2, a run that fails with 1, Ctrl-C with 130.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ilora.lab.cli.flags import add_experiment, read_experiment
from ilora.lab.cli.tables import methods_command, presets_command, runs_command
from ilora.methods import METHODS


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    chosen = make_parser().parse_args(arguments)
    try:
        code: int = chosen.command(chosen)
        return code
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, ImportError, OSError) as error:
        print(f"python -m ilora {chosen.verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = _Parser(
        prog="python -m ilora", description="Federated learning with LoRA adapters of mixed ranks.", allow_abbrev=False
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND", parser_class=_Parser)

    def add(verb: str, command: Any, about: str) -> argparse.ArgumentParser:
        own = verbs.add_parser(verb, help=about, description=about, allow_abbrev=False)
        own.set_defaults(command=command)
        return own

    run = add("run", run_command, "train one experiment, here, where the app shows it live")
    add_experiment(run, skip=())
    run.add_argument("--preset", metavar="NAME", help="start from these settings; `python -m ilora presets` lists them")
    run.add_argument("--mode", metavar="MODE", help="the method's mode, such as official for ilora")
    run.add_argument("--name", default="", help="what the run is called in lists")
    compare = add("compare", compare_command, "train several methods on the same seed, clients and batches")
    compare.add_argument(
        "--methods", default="ilora,fedit,flora,flexlora", help="as in ilora,ilora:official,fedit (default: %(default)s)"
    )
    add_experiment(compare, skip=("method",))
    compare.add_argument("--csv", metavar="FILE", help="write the table to FILE too")
    compare.add_argument(
        "--suite",
        choices=("seeds", "tasks"),
        help="instead: a document over several seeds, of every method, or on CIFAR and GLUE",
    )
    compare.add_argument("--seeds", type=int, default=5, help="how many seeds the suite takes (default: %(default)s)")
    compare.add_argument("--out", default="docs/results.md", help="where the suite's document goes (default: %(default)s)")
    add("methods", methods_command, "list the methods").add_argument("--json", action="store_true", help="everything, as JSON")
    add("presets", presets_command, "list the settings of published experiments").add_argument(
        "--json", action="store_true", help="everything, as JSON"
    )
    add("runs", runs_command, "list the stored runs, the newest first").add_argument(
        "--json", action="store_true", help="as JSON"
    )
    for verb, about in (
        ("resume", "go on with a run, here, from its last finished round"),
        ("step", "go on with a run for one round, here, then pause it"),
        ("pause", "pause a run after the round in flight"),
        ("stop", "stop a run at once; its finished rounds stay"),
    ):
        add(verb, resume_command if verb in ("resume", "step") else want_command, about).add_argument("id", metavar="ID")
    add("delete", delete_command, "delete runs with all their files").add_argument("ids", metavar="ID", nargs="+")
    export = add("export", export_command, "write a run into one zip file")
    export.add_argument("id", metavar="ID")
    export.add_argument("file", metavar="FILE.zip")
    adapter = add("adapter", adapter_command, "write what a run has learned as an adapter that peft loads")
    adapter.add_argument("id", metavar="ID")
    adapter.add_argument("folder", metavar="FOLDER")
    adapter.add_argument("--rank", type=int, help="of the client that receives it (default: the server's)")
    add("import", import_command, "read a run from a zip file that export wrote").add_argument("file", metavar="FILE.zip")
    worker = add("worker", worker_command, "claim and train queued runs; the app starts its workers itself")
    worker.add_argument("--id", default="", help=argparse.SUPPRESS)
    worker.add_argument("--launcher", type=int, default=os.getppid(), help=argparse.SUPPRESS)
    worker.add_argument(
        "--idle-seconds", type=float, default=900, help="end when nothing has waited for so long (default: %(default)s)"
    )
    return parser


def run_command(chosen: argparse.Namespace) -> int:
    """Train one experiment in this process."""
    experiment = read_experiment(chosen, mode=chosen.mode)
    from ilora.lab.cli.local_run import train_here

    return train_here(experiment, chosen.name)


def resume_command(chosen: argparse.Namespace) -> int:
    """Go on with a stored run in this process."""
    from ilora.lab.runs.store import Store

    Store().run(chosen.id)  # an unknown one is refused before torch is loaded
    from ilora.lab.cli.local_run import resume_here

    return resume_here(chosen.id, once=chosen.verb == "step")


def compare_command(chosen: argparse.Namespace) -> int:
    """Train one method after the other, and print a table; or a whole suite."""
    if chosen.suite:
        return suite_command(chosen)
    experiments = []
    for entry in dict.fromkeys(part.strip() for part in chosen.methods.split(",")):
        method, _, mode = entry.partition(":")
        experiments.append(read_experiment(chosen, method, mode or None))
    if aside := [e.method for e in experiments if METHODS[e.method].learns_from_reward]:
        raise ValueError(f"methods names {aside[0]!r}, which learns from a reward; allowed are methods that learn from labels.")
    if chosen.csv and not Path(chosen.csv).resolve().parent.is_dir():
        raise ValueError(f"csv is {chosen.csv!r}; allowed: a file in a folder that exists.")
    from ilora.lab.cli.local_run import compare_here

    return compare_here(experiments, chosen.csv)


def suite_command(chosen: argparse.Namespace) -> int:
    """Train every method over several seeds in worker processes, and write the document with their table."""
    if not 2 <= chosen.seeds <= 100:
        raise ValueError(f"seeds is {chosen.seeds}; allowed: a whole number from 2 to 100.")
    if chosen.suite == "tasks":
        from ilora.lab.suites.over_tasks import write_task_results

        columns = write_task_results(Path(chosen.out), read_experiment(chosen), chosen.seeds)
        print(f"{chosen.out}: {len(columns)} tasks, {chosen.seeds} seeds each.")
        return 0
    from ilora.lab.suites.over_seeds import write_results

    frame = write_results(Path(chosen.out), read_experiment(chosen), list(METHODS), chosen.seeds)
    print(f"{chosen.out}: {len(frame)} rows, {chosen.seeds} seeds each; {frame.iloc[0]['method']} has the highest mean accuracy.")
    return 0


def want_command(chosen: argparse.Namespace) -> int:
    """Pause or stop a run, wherever it trains."""
    from ilora.lab.runs import leases, pool
    from ilora.lab.runs.store import Store

    store = Store()
    pool.sweep(store)
    leases.want(store, chosen.id, chosen.verb)
    print(f"{chosen.id}: {chosen.verb} is wanted; the run is {store.run(chosen.id).status}.")
    return 0


def delete_command(chosen: argparse.Namespace) -> int:
    """Delete runs."""
    from ilora.lab.runs import pool
    from ilora.lab.runs.store import Store

    store = Store()
    pool.sweep(store)
    for run_id in chosen.ids:
        store.delete(run_id)
        print(f"deleted {run_id}")
    return 0


def export_command(chosen: argparse.Namespace) -> int:
    """Write a run into a zip file."""
    from ilora.lab.runs.archive import export_run
    from ilora.lab.runs.store import Store

    export_run(Store(), chosen.id, Path(chosen.file))
    print(f"wrote {chosen.file}")
    return 0


def adapter_command(chosen: argparse.Namespace) -> int:
    """Write a run's adapter after its last finished round into a folder."""
    from ilora.lab.runs.store import Store

    store = Store()
    run, snapshot = store.run(chosen.id), store.snapshot(chosen.id)
    if snapshot is None:
        raise ValueError(f"run {run.id} has no finished round yet; wait for one.")
    from ilora.simulation.peft_export import export
    from ilora.simulation.round_loop import Simulation

    simulation = Simulation(run.experiment, snapshot)
    adapter = export(simulation, simulation.server.rank if chosen.rank is None else chosen.rank)
    adapter.save_pretrained(chosen.folder)
    print(f"wrote the adapter of {run.id} after round {run.done} to {chosen.folder}")
    return 0


def import_command(chosen: argparse.Namespace) -> int:
    """Read a run from a zip file."""
    from ilora.lab.runs.archive import import_run
    from ilora.lab.runs.store import Store

    print(f"imported as {import_run(Store(), Path(chosen.file))}")
    return 0


def worker_command(chosen: argparse.Namespace) -> int:
    """Be a worker process."""
    from ilora.lab.runs.leases import new_id
    from ilora.lab.runs.store import Store
    from ilora.lab.runs.worker import serve

    serve(Store(), chosen.id or new_id("worker"), chosen.launcher, chosen.idle_seconds)
    return 0

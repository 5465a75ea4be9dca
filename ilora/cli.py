"""The command line: `python -m ilora run|compare|methods|presets|runs|resume|step|pause|stop|export|adapter|import|delete`.

Wrong values end with one sentence on stderr and exit code 2, a run that fails with 1, Ctrl-C with 130.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NoReturn

from ilora import properties
from ilora.experiment import DEVICES, ENGINES, OPTIMIZERS, PRECISIONS, RANK_PROFILES, SKEWS, Experiment
from ilora.methods import METHODS, PROVENANCE, Method
from ilora.presets import available, preset
from ilora.tasks import TASKS

ABOUT = {
    "task": f"data and backbone: {', '.join(TASKS)}",
    "method": f"{', '.join(METHODS)}; `python -m ilora methods` explains them",
    "ranks": f"one rank per client, as in 2,4,6, or a profile: {', '.join(RANK_PROFILES)}",
    "clients": "how many clients a profile of ranks is for",
    "skew": "; ".join(f"{name}: {about}" for name, about in SKEWS.items()),
    "alpha": "Dirichlet concentration for the skews label and quantity",
    "shards": "shards per client for the skew shards",
    "noisy_clients": "how many clients, drawn by the seed, hold random labels",
    "left_out": "clients, counted from 0, that never take part, as in 0,3",
    "participation": "share of the clients that take part in a round, up to 1",
    "rounds": "communication rounds",
    "local_steps": "optimizer steps of each client in a round",
    "local_epochs": "instead of local steps: passes of each client over its own samples in a round",
    "batch_size": "samples in each step",
    "optimizer": ", ".join(OPTIMIZERS),
    "lr": "learning rate of the clients",
    "scaling": "LoRA scaling: a number, 16/r or 16/sqrt(r); the method's own if not said",
    "backbone": "the frozen model, for some tasks any transformers model by name or folder; the task's own if not said",
    "data": "the folder of files that do not come with the program; data/cache, filled by one download, if not said",
    "adapter": "the folder of a PEFT adapter to start from",
    "targets": "the linears that get adapters, as in query,value; the task's own if not said",
    "seed": "of every random draw",
    "device": ", ".join(DEVICES),
    "precision": "; ".join(f"{name}: {about}" for name, about in PRECISIONS.items()),
    "engine": "; ".join(f"{name}: {about}" for name, about in ENGINES.items()),
}


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
    _add_experiment(run, skip=())
    run.add_argument("--preset", metavar="NAME", help="start from these settings; `python -m ilora presets` lists them")
    run.add_argument("--mode", metavar="MODE", help="the method's mode, such as official for ilora")
    run.add_argument("--name", default="", help="what the run is called in lists")
    compare = add("compare", compare_command, "train several methods on the same seed, clients and batches")
    compare.add_argument(
        "--methods", default="ilora,fedit,flora,flexlora", help="as in ilora,ilora:official,fedit (default: %(default)s)"
    )
    _add_experiment(compare, skip=("method",))
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


def _add_experiment(parser: argparse.ArgumentParser, skip: Iterable[str]) -> None:
    """One flag for each field of Experiment, and --option for the method's ingredients."""
    for field in fields(Experiment):
        if field.name in ABOUT and field.name not in skip:
            default = f" (default: {field.default})" if field.default not in ((), "", None) else ""
            about = f"{ABOUT[field.name]}{default}".replace("%", "%%")
            parser.add_argument(
                f"--{field.name.replace('_', '-')}", dest=f"field_{field.name}", metavar=field.name.upper(), help=about
            )
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a stage's ingredient or an option of one; may be repeated",
    )


def read_experiment(chosen: argparse.Namespace, method: str | None = None, mode: str | None = None) -> Experiment:
    """The experiment that the flags describe; ValueError naming the field that is wrong."""
    query = {
        name.removeprefix("field_"): text for name, text in vars(chosen).items() if name.startswith("field_") and text is not None
    }
    options = dict(_read_option(text) for text in chosen.option)
    if mode is not None:
        options["mode"] = mode
    if method is not None:
        query["method"] = method
    named = getattr(chosen, "preset", None)
    return Experiment.from_query((preset(named).query() if named else {}) | query | {"options": json.dumps(options)})


def _read_option(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise ValueError(f"option is {text!r}; allowed: NAME=VALUE.")
    if value.lower() in ("true", "false"):
        return name, value.lower() == "true"
    try:
        number = json.loads(value)
    except ValueError:
        return name, value
    return name, number if isinstance(number, int | float) else value


def run_command(chosen: argparse.Namespace) -> int:
    """Train one experiment in this process."""
    experiment = read_experiment(chosen, mode=chosen.mode)
    from ilora.terminal import train_here

    return train_here(experiment, chosen.name)


def resume_command(chosen: argparse.Namespace) -> int:
    """Go on with a stored run in this process."""
    from ilora.store import Store

    Store().run(chosen.id)  # an unknown one is refused before torch is loaded
    from ilora.terminal import resume_here

    return resume_here(chosen.id, once=chosen.verb == "step")


def compare_command(chosen: argparse.Namespace) -> int:
    """Train one method after the other, and print a table; or a whole suite."""
    if chosen.suite:
        return suite_command(chosen)
    experiments = []
    for entry in dict.fromkeys(part.strip() for part in chosen.methods.split(",")):
        method, _, mode = entry.partition(":")
        experiments.append(read_experiment(chosen, method, mode or None))
    if aside := [e.method for e in experiments if METHODS[e.method].alignment]:
        raise ValueError(f"methods names {aside[0]!r}, which learns from a reward; allowed are methods that learn from labels.")
    if chosen.csv and not Path(chosen.csv).resolve().parent.is_dir():
        raise ValueError(f"csv is {chosen.csv!r}; allowed: a file in a folder that exists.")
    from ilora.terminal import compare_here

    return compare_here(experiments, chosen.csv)


def suite_command(chosen: argparse.Namespace) -> int:
    """Train every method over several seeds in worker processes, and write the document with their table."""
    if not 2 <= chosen.seeds <= 100:
        raise ValueError(f"seeds is {chosen.seeds}; allowed: a whole number from 2 to 100.")
    if chosen.suite == "tasks":
        from ilora.task_suite import LEARNING_RATES, write_task_results

        columns = write_task_results(Path(chosen.out), read_experiment(chosen), list(LEARNING_RATES), chosen.seeds)
        print(f"{chosen.out}: {len(columns)} tasks, {chosen.seeds} seeds each.")
        return 0
    from ilora.suites import write_results

    frame = write_results(Path(chosen.out), read_experiment(chosen), list(METHODS), chosen.seeds)
    print(f"{chosen.out}: {len(frame)} rows, {chosen.seeds} seeds each; {frame.iloc[0]['method']} has the highest mean accuracy.")
    return 0


def methods_command(chosen: argparse.Namespace) -> int:
    """List the methods."""
    if chosen.json:
        print(
            json.dumps(
                {
                    key: asdict(method)
                    | {"provenance": PROVENANCE[method.provenance_of()], "personalised": method.personalised, **stated(method)}
                    for key, method in METHODS.items()
                },
                indent=2,
            )
        )
    else:
        print_table(
            ["method", "title", "paper", "year", "exact", "mixed ranks", "merges", "download", "provenance", "modes"],
            [
                [
                    key,
                    m.title,
                    m.paper,
                    m.year or "",
                    *stated(m).values(),
                    PROVENANCE[m.provenance_of()],
                    ", ".join(m.modes),
                ]
                for key, m in METHODS.items()
            ],
        )
    return 0


def presets_command(chosen: argparse.Namespace) -> int:
    """List the presets."""
    found = available()
    if chosen.json:
        every = {name: asdict(own) | {"experiment": own.experiment().to_dict()} for name, own in found.items()}
        print(json.dumps(every, indent=2))
    else:
        print_table(["preset", "title", "small twin"], [[name, own.title, own.twin] for name, own in found.items()])
    return 0


def stated(method: Method) -> dict[str, Any]:
    """What follows from a method's ingredients."""
    return {
        "exact": properties.exact(method),
        "mixed_ranks": properties.mixed_ranks(method),
        "merges": properties.merges(method),
        "download": properties.download(method),
    }


def runs_command(chosen: argparse.Namespace) -> int:
    """List the stored runs."""
    from ilora import jobs
    from ilora.store import Store

    store = Store()
    jobs.sweep(store)
    runs = store.runs()
    if chosen.json:
        print(json.dumps([asdict(run) for run in runs], indent=2))
    elif not runs:
        print(f"No runs in {store.home} yet; `python -m ilora run` makes one.")
    else:
        rows = [[r.id, r.status, f"{r.done}/{r.rounds}", _score(r.last), r.name, r.error] for r in runs]
        print_table(["run", "status", "rounds", "accuracy", "name", ""], rows)
    return 0


def want_command(chosen: argparse.Namespace) -> int:
    """Pause or stop a run, wherever it trains."""
    from ilora import claims, jobs
    from ilora.store import Store

    store = Store()
    jobs.sweep(store)
    claims.want(store, chosen.id, chosen.verb)
    print(f"{chosen.id}: {chosen.verb} is wanted; the run is {store.run(chosen.id).status}.")
    return 0


def delete_command(chosen: argparse.Namespace) -> int:
    """Delete runs."""
    from ilora import jobs
    from ilora.store import Store

    store = Store()
    jobs.sweep(store)
    for run_id in chosen.ids:
        store.delete(run_id)
        print(f"deleted {run_id}")
    return 0


def export_command(chosen: argparse.Namespace) -> int:
    """Write a run into a zip file."""
    from ilora.archive import export_run
    from ilora.store import Store

    export_run(Store(), chosen.id, Path(chosen.file))
    print(f"wrote {chosen.file}")
    return 0


def adapter_command(chosen: argparse.Namespace) -> int:
    """Write a run's adapter after its last finished round into a folder."""
    from ilora.store import Store

    store = Store()
    run, snapshot = store.run(chosen.id), store.snapshot(chosen.id)
    if snapshot is None:
        raise ValueError(f"run {run.id} has no finished round yet; wait for one.")
    from ilora.peft_export import export
    from ilora.simulation import Simulation

    simulation = Simulation(run.experiment, snapshot)
    adapter = export(simulation, simulation.rank if chosen.rank is None else chosen.rank)
    adapter.save_pretrained(chosen.folder)
    print(f"wrote the adapter of {run.id} after round {run.done} to {chosen.folder}")
    return 0


def import_command(chosen: argparse.Namespace) -> int:
    """Read a run from a zip file."""
    from ilora.archive import import_run
    from ilora.store import Store

    print(f"imported as {import_run(Store(), Path(chosen.file))}")
    return 0


def worker_command(chosen: argparse.Namespace) -> int:
    """Be a worker process."""
    from ilora.claims import new_id
    from ilora.store import Store
    from ilora.worker import serve

    serve(Store(), chosen.id or new_id("worker"), chosen.launcher, chosen.idle_seconds)
    return 0


def print_table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print left-aligned columns."""
    table = [list(map(str, row)) for row in [titles, *rows]]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _score(last: Mapping[str, float]) -> str:
    """The main score of a run's last round: accuracy as per cent, another one with its name."""
    from ilora.records import main_score, score_text

    return percent(last.get("accuracy")) if main_score(last) == "accuracy" else score_text(last)


def percent(share: float | None) -> str:
    """A share as per cent; nothing for none."""
    return "" if share is None else f"{share:.1%}"

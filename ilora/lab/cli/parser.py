"""The parser of the command line: every verb with its flags."""

import argparse
import os
from collections.abc import Callable
from typing import NoReturn

from ilora import __version__
from ilora.lab.cli import commands, serve
from ilora.lab.cli.flags import add_experiment, add_start
from ilora.lab.cli.tables import methods_command, presets_command, runs_command

Command = Callable[[argparse.Namespace], int]
DEBUG = "show the traceback of an error that is one sentence otherwise"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


class _Verbs:
    """The verbs of the program, each with a parser of its own."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parsers = parser.add_subparsers(dest="verb", metavar="COMMAND", parser_class=_Parser)

    def add(self, verb: str, command: Command, about: str) -> argparse.ArgumentParser:
        """The parser of one more verb."""
        own = self.parsers.add_parser(verb, help=about, description=about, allow_abbrev=False)
        own.set_defaults(command=command)
        own.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=DEBUG)
        return own


def make_parser() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = _Parser(
        prog="python -m ilora", description="Federated learning with LoRA adapters of mixed ranks.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"ilora {__version__}")
    parser.add_argument("--debug", action="store_true", help=DEBUG)
    verbs = _Verbs(parser)
    _add_run(verbs)
    _add_compare(verbs)
    _add_lists(verbs)
    _add_control(verbs)
    _add_files(verbs)
    serve.add_options(verbs.add("app", serve.app_command, "serve the app in the browser"))
    _add_worker(verbs)
    return parser


def _add_run(verbs: _Verbs) -> None:
    run = verbs.add("run", commands.run, "train one experiment, here, where the app shows it live")
    add_start(run)
    add_experiment(run, skip=())
    run.add_argument("--mode", metavar="MODE", help="the method's mode, such as official for ilora")
    run.add_argument("--name", default="", help="what the run is called in lists")
    run.add_argument("--json", action="store_true", help="print the finished run with all its rounds as JSON")


def _add_compare(verbs: _Verbs) -> None:
    compare = verbs.add("compare", commands.compare, "train several methods on the same seed, clients and batches")
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


def _add_lists(verbs: _Verbs) -> None:
    for verb, command, about in (
        ("methods", methods_command, "list the methods"),
        ("presets", presets_command, "list the settings of published experiments"),
        ("runs", runs_command, "list the stored runs, the newest first"),
    ):
        verbs.add(verb, command, about).add_argument("--json", action="store_true", help="everything, as JSON")


def _add_control(verbs: _Verbs) -> None:
    for verb, command, about in (
        ("resume", commands.resume, "go on with a run, here, from its last finished round"),
        ("step", commands.resume, "go on with a run for one round, here, then pause it"),
        ("pause", commands.want, "pause a run after the round in flight"),
        ("stop", commands.want, "stop a run at once; its finished rounds stay"),
    ):
        verbs.add(verb, command, about).add_argument("id", metavar="ID")
    verbs.add("delete", commands.delete, "delete runs with all their files").add_argument("ids", metavar="ID", nargs="+")


def _add_files(verbs: _Verbs) -> None:
    export = verbs.add("export", commands.export, "write a run into one zip file")
    export.add_argument("id", metavar="ID")
    export.add_argument("file", metavar="FILE.zip")
    adapter = verbs.add("adapter", commands.adapter, "write what a run has learned as an adapter that peft loads")
    adapter.add_argument("id", metavar="ID")
    adapter.add_argument("folder", metavar="FOLDER")
    adapter.add_argument("--rank", type=int, help="of the client that receives it (default: the server's)")
    read = verbs.add("import", commands.import_, "read a run from a zip file that export wrote")
    read.add_argument("file", metavar="FILE.zip")


def _add_worker(verbs: _Verbs) -> None:
    worker = verbs.add("worker", commands.worker, "claim and train queued runs; the app starts its workers itself")
    worker.add_argument("--id", default="", help=argparse.SUPPRESS)
    worker.add_argument("--launcher", type=int, default=os.getppid(), help=argparse.SUPPRESS)
    worker.add_argument(
        "--idle-seconds", type=float, default=900, help="end when nothing has waited for so long (default: %(default)s)"
    )

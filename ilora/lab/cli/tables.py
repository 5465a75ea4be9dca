"""What the command line lists: methods, presets and stored runs, as a table or as JSON."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

from ilora.lab.content.presets import available
from ilora.methods import METHODS, PROVENANCE, Method, properties


def methods_command(chosen: argparse.Namespace) -> int:
    """List the methods."""
    if chosen.json:
        print_json(
            {
                key: asdict(method)
                | {"provenance": PROVENANCE[method.provenance_of()], "personalised": method.personalised, **stated(method)}
                for key, method in METHODS.items()
            }
        )
    else:
        print_table(
            ["method", "title", "paper", "year", "exact", "mixed ranks", "merges", "download", "provenance", "modes", "source"],
            [
                [
                    key,
                    m.title,
                    m.paper,
                    m.year or "",
                    *stated(m).values(),
                    PROVENANCE[m.provenance_of()],
                    ", ".join(m.modes),
                    m.source,
                ]
                for key, m in METHODS.items()
            ],
        )
    return 0


def stated(method: Method) -> dict[str, Any]:
    """What follows from a method's ingredients."""
    return {
        "exact": properties.exact(method),
        "mixed_ranks": properties.mixed_ranks(method),
        "merges": properties.merges(method),
        "download": properties.download(method),
    }


def presets_command(chosen: argparse.Namespace) -> int:
    """List the presets."""
    found = available()
    if chosen.json:
        every = {name: asdict(own) | {"experiment": own.experiment().to_dict()} for name, own in found.items()}
        print_json(every)
    else:
        print_table(["preset", "title", "small twin"], [[name, own.title, own.twin] for name, own in found.items()])
    return 0


def runs_command(chosen: argparse.Namespace) -> int:
    """List the stored runs."""
    from ilora.lab.runs import pool
    from ilora.lab.runs.store import UNREADABLE, Store

    store = Store()
    pool.sweep(store)
    runs = store.runs()
    if chosen.json:
        print_json([asdict(run) for run in runs])
    elif not runs:
        print(f"No runs in {store.home} yet; `python -m ilora run` makes one.")
    else:
        rounds = {r.id: "" if r.status == UNREADABLE else f"{r.done}/{r.rounds}" for r in runs}
        rows = [[r.id, r.status, rounds[r.id], _score(r.last), r.name, r.error] for r in runs]
        print_table(["run", "status", "rounds", "accuracy", "name", ""], rows)
    return 0


def print_json(value: Any) -> None:
    """Print JSON that every reader takes: a number that is NaN or infinite, such as an error that does not exist, is null."""
    print(json.dumps(_finite(value), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value


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

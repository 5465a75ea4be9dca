"""Terminal: training in the process of the command line, into the same store as the app's workers, with a progress bar."""

import csv
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict
from math import isnan
from typing import Any

from tqdm import tqdm

from ilora.experiment import Experiment
from ilora.lab.cli.flags import written
from ilora.lab.cli.tables import print_json, print_table
from ilora.lab.runs import leases, pool
from ilora.lab.runs.store import Run, Store
from ilora.lab.runs.worker import Training, default_threads, this_process
from ilora.records import Round, score_text

CTRL_C = 130
Watch = Callable[[str, float, Round | None], None]  # the status, the position in rounds, and a round that has just ended


def train_here(experiment: Experiment, name: str, as_json: bool = False) -> int:
    """Train a new run to its end, and print it as JSON if that is wanted; returns the exit code."""
    _check_stages([experiment])
    store = Store()
    with _worker(store) as worker:
        run = store.run(store.add(experiment, name, worker=worker))
        with redirect_stdout(sys.stderr) if as_json else nullcontext():
            code = _train(store, run, worker)
    if as_json:
        history = store.history(run.id).to_dict("records")
        print_json(asdict(store.run(run.id)) | {"experiment": experiment.to_dict(), "history": history})
    return code


def resume_here(run_id: str, once: bool) -> int:
    """Go on with a stored run, for one round or to its end; returns the exit code."""
    store = Store()
    pool.sweep(store)
    with _worker(store) as worker:
        return _train(store, leases.take(store, run_id, worker, "step" if once else "run"), worker, once)


def compare_here(experiments: Sequence[Experiment], path: str | None) -> int:
    """Train one run after the other as a group, print a row for each, write the rows to `path`; returns the exit code."""
    _check_stages(experiments)
    store, group, rows, codes = Store(), f"compare-{secrets.token_hex(3)}", [], []
    with _worker(store) as worker:
        for experiment in experiments:
            run = store.run(store.add(experiment, group=group, worker=worker))
            codes.append(_train(store, run, worker))
            if codes[-1] == CTRL_C:
                return CTRL_C
            rows.append(_row(store, run.id))
    print_table(list(rows[0]), [[f"{v:.4g}" if isinstance(v, float) else v for v in row.values()] for row in rows])
    if path:
        with written("csv", path), open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return max(codes)


def _check_stages(experiments: Sequence[Experiment]) -> None:
    """Refuse stages of one's own that cannot work before anything is stored."""
    from ilora.stages.stage import check_stages

    for experiment in experiments:
        check_stages(experiment.recipe)


@contextmanager
def _worker(store: Store) -> Iterator[str]:
    """Enter this process as a worker, so that others see that it lives, and leave it again."""
    default_threads()  # a wrong ILORA_THREADS is refused before anything is stored
    me = this_process(leases.new_id("cli"), "cli", "busy")
    leases.register(store, me)
    try:
        yield me.id
    finally:
        leases.abandon(store, me.id)


def _train(store: Store, run: Run, worker: str, once: bool = False) -> int:
    """Train a run that `worker` holds, under a progress bar, and say how it ended; returns the exit code."""
    print(f"{run.id}: {run.name}")
    with _followed(run) as watch:
        try:
            outcome = Training(store, run, worker, lambda held: not once, watch).finish()
        except KeyboardInterrupt:
            leases.end(store, run.id, worker, "stopped")
            store.log(run.id, "stopped by Ctrl-C")
            outcome = "interrupted"
    return _say(store.run(run.id), outcome)


@contextmanager
def _followed(run: Run) -> Iterator[Watch]:
    """What hears of a run's progress and tells it on stderr: with a bar in a terminal, elsewhere with one line a round."""

    def tell(status: str, position: float, round: Round | None) -> None:
        if round is not None:
            print(f"round {round.index} of {run.rounds}: {_scores(round)}", file=sys.stderr, flush=True)

    if not sys.stderr.isatty():
        yield tell
        return
    form = "{l_bar}{bar}| {n:.1f}/{total} rounds [{elapsed}<{remaining}]{postfix}"
    with tqdm(desc="starting", total=run.rounds, initial=run.done, bar_format=form) as bar:

        def show(status: str, position: float, round: Round | None) -> None:
            bar.n = position
            bar.set_description(status, refresh=round is None)
            if round is not None:
                bar.set_postfix_str(_scores(round))

        yield show


def _scores(round: Round) -> str:
    return f"{score_text(round.metrics())}{_error(round.aggregation_error)}"


def _say(run: Run, outcome: str) -> int:
    """Print how a run ended; returns the exit code."""
    if outcome == "finished":
        loss, error = (run.last[name] for name in ("loss", "aggregation_error"))
        print(f"finished: {score_text(run.last)}, loss {loss:.4f}{_error(error)}")
        return 0
    if outcome == "failed":
        print(f"{run.id} failed: {run.error}", file=sys.stderr)
    else:
        where = f"after round {run.done} of {run.rounds}"
        print(f"{run.id} is {run.status} {where}; python -m ilora resume {run.id} goes on.", file=sys.stderr)
    return {"paused": 0, "interrupted": CTRL_C}.get(outcome, 1)


def _error(error: float) -> str:
    """The aggregation error as a further clause; nothing where a method keeps no common model."""
    return "" if isnan(error) else f", aggregation error {error:.3g}"


def _row(store: Store, run_id: str) -> dict[str, Any]:
    """What a run has come to; nothing where no round was finished."""
    run, history = store.run(run_id), store.history(run_id)
    last = run.last
    return {
        "run": run.id,
        "method": run.experiment.method,
        "mode": run.experiment.options.get("mode", ""),
        "status": run.status,
        "accuracy": last.get("accuracy", ""),
        "loss": last.get("loss", ""),
        "aggregation error": last.get("aggregation_error", ""),
        "MB up": float(history["bytes_up"].sum()) / 1e6,
        "MB down": float(history["bytes_down"].sum()) / 1e6,
        "seconds": float(history["seconds"].sum()),
    }

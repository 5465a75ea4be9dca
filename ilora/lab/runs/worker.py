"""Worker: the training of one claimed run, and the process that claims one run after another.

The command line trains its own runs through the same `Training`, so the app can pause and stop those too.
"""

import os
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from ilora.checks import FieldError
from ilora.experiment import Experiment
from ilora.lab.runs import leases
from ilora.lab.runs.leases import LostRunError
from ilora.lab.runs.pool import cores
from ilora.lab.runs.processes import this_process
from ilora.lab.runs.store import FETCHING, Run, Store, StoreError
from ilora.records import Round, score_text
from ilora.simulation.round_loop import Simulation
from ilora.tasks import fetch_task
from ilora.tasks.download import StoppedError

POLL_SECONDS = 0.06  # between two looks at the queue, or at what shall become of a paused run
PULSE_SECONDS = 0.2  # between two reports from inside a round
BEAT_SECONDS = 5
HOLD_SECONDS = 300  # a paused run stays in memory so long, unless another run waits
IDLE_SECONDS = 900
NICE, AUTOGROUP = 10, Path("/proc/self/autogroup")

Keep = Callable[[float], bool]
Watch = Callable[[str, float, Round | None], None]
"""Called often with "running" or "paused", the number of rounds done (with a fraction), and a round that has just ended."""


class _LeaveError(StoppedError):
    """Leave the run: "stopped", or "paused" and given back."""


class Training:
    """One run in the hands of `worker`, from its last finished round on.

    `keep(seconds)` says whether to go on holding it in memory after so long a pause.
    """

    def __init__(self, store: Store, run: Run, worker: str, keep: Keep, watch: Watch = lambda *_: None) -> None:
        self.store, self.run, self.worker, self.keep, self.watch = store, run, worker, keep, watch
        self.round = run.done + 1
        self._reported = 0.0
        self._fetched = -1

    def finish(self) -> str:
        """Train until the run is finished, stopped, failed, given back as paused, or lost; returns which."""
        try:
            self._train()
            outcome = "finished"
        except _LeaveError as leave:
            outcome = str(leave)
        except LostRunError:
            return "lost"
        except Exception as error:
            outcome = self._fail(error)
        if outcome in ("finished", "stopped"):
            leases.end(self.store, self.run.id, self.worker, outcome)
        self.store.log(self.run.id, outcome)
        return outcome

    def _train(self) -> None:
        simulation = self._open()
        while simulation.index < self.run.rounds:
            self._pulse(0.0)
            round = simulation.next_round(self._on_step)
            if not self.store.save_round(self.run.id, round, self.worker):
                raise LostRunError(self.run.id)
            self.store.log(self.run.id, _summary(round))
            self.watch("running", simulation.index, round)
            self.round = simulation.index + 1
            if simulation.index < self.run.rounds:
                self._obey()

    def _open(self) -> Simulation:
        """The simulation as the last whole round left it, with as many threads as before: they are part of the bits."""
        if back := self.store.fall_back(self.run.id, self.worker):
            self.store.log(self.run.id, back)
        self.run = self.store.sound_run(self.run.id)
        self.round = self.run.done + 1
        facts = self.store.facts(self.run.id)
        torch.set_num_threads(facts.threads if facts else default_threads())
        fetch_task(self.run.experiment.task, self.run.experiment.data, self._on_fetch)
        simulation = Simulation(self.run.experiment, self.store.snapshot(self.run.id))
        if facts is None:
            self.store.save_facts(self.run.id, simulation.facts)
        self.store.log(
            self.run.id,
            f"{self.worker} starts with round {self.round} of {self.run.rounds}: torch {torch.__version__},"
            f" {simulation.facts.device}, {torch.get_num_threads()} threads",
        )
        return simulation

    def _on_fetch(self, title: str, share: float) -> None:
        """Tell of a download, and leave the run if that is wanted."""
        if time.monotonic() - self._reported >= PULSE_SECONDS:
            self._reported = time.monotonic()
            if leases.report(self.store, self.run.id, self.worker, 0.0) == "stop":
                raise _LeaveError("stopped")
            self.watch(f"{FETCHING} {title}, {share:.0%}", self.round - 1, None)
        if int(20 * share) != self._fetched:
            self._fetched = int(20 * share)
            self.store.log(self.run.id, f"{FETCHING} {title}, {share:.0%} is here")

    def _on_step(self, fraction: float) -> None:
        if time.monotonic() - self._reported >= PULSE_SECONDS:
            self._pulse(fraction)

    def _pulse(self, fraction: float) -> None:
        """Report how far the round is, and leave it if that is wanted."""
        self._reported = time.monotonic()
        if leases.report(self.store, self.run.id, self.worker, fraction) == "stop":
            raise _LeaveError("stopped")
        self.watch("running", self.round - 1 + fraction, None)

    def _obey(self) -> None:
        """Do at a round boundary what is wanted: nothing, or hold the run until it shall go on."""
        if not leases.hold(self.store, self.run.id, self.worker):
            return
        self.store.log(self.run.id, "paused")
        leases.set_state(self.store, self.worker, "holding")
        since = time.monotonic()
        while not leases.go_on(self.store, self.run.id, self.worker):
            if not self.keep(time.monotonic() - since) and leases.release(self.store, self.run.id, self.worker):
                raise _LeaveError("paused")
            self.watch("paused", self.round - 1, None)
            time.sleep(POLL_SECONDS)
        leases.set_state(self.store, self.worker, "busy")

    def _fail(self, error: Exception) -> str:
        """Log the whole error and end the run with one line of it."""
        self.store.log(self.run.id, traceback.format_exc())
        line = " ".join(str(error).split())[:300] or "no reason given"
        if not isinstance(error, StoreError | FieldError):
            line = f"Round {self.round} failed: {line} ({type(error).__name__})"
        leases.end(self.store, self.run.id, self.worker, "failed", line)
        return "failed"


def serve(store: Store, worker_id: str, launcher: int, idle_seconds: float = IDLE_SECONDS) -> None:
    """Claim and train runs until nothing has waited for `idle_seconds`, or nothing waits and the process `launcher` is gone."""
    _let_the_app_answer_first()
    me = this_process(worker_id, "pool", "starting")
    leases.register(store, me)
    _warm_up()

    def keep(held: float) -> bool:
        return held < HOLD_SECONDS and os.getppid() == launcher and not leases.somebody_waits(store)

    idle_since = beat = time.monotonic()
    leases.register(store, replace(me, state="idle", heartbeat=time.time()))
    while time.monotonic() - idle_since < idle_seconds:
        run = leases.claim(store, worker_id)
        if run is not None:
            leases.set_state(store, worker_id, "busy")
            Training(store, run, worker_id, keep).finish()
            idle_since = time.monotonic()
        elif os.getppid() != launcher:
            break
        else:
            time.sleep(POLL_SECONDS)
        if run is not None or time.monotonic() - beat > BEAT_SECONDS:
            beat = time.monotonic()
            leases.register(store, replace(me, state="idle", heartbeat=time.time()))
    leases.abandon(store, worker_id)


def _let_the_app_answer_first() -> None:
    """Training takes what the app and the browser leave."""
    if hasattr(os, "nice"):
        os.nice(NICE)
    if hasattr(os, "getsid") and os.getsid(0) == os.getpid():  # else it would weigh down whatever else the session holds
        with suppress(OSError):  # Linux may weigh sessions first: nice alone says nothing then
            AUTOGROUP.write_text(str(NICE))


def default_threads() -> int:
    """Threads for one worker: ILORA_THREADS, else one fewer than there are cores."""
    named = os.environ.get("ILORA_THREADS", "")
    if named and not (named.isdigit() and int(named) > 0):
        raise FieldError("ILORA_THREADS", named, "a whole number from 1")
    return int(named) if named else max(1, cores() - 1)


def _warm_up() -> None:
    """Go through one small round, so that no first run waits for imports, data and kernels."""
    torch.set_num_threads(default_threads())
    Simulation(Experiment(clients=2, local_steps=1)).next_round()


def _summary(round: Round) -> str:
    return (
        f"round {round.index}: {score_text(round.metrics())}, loss {round.loss:.4f}, "
        f"aggregation error {round.aggregation_error:.3g}, {round.seconds:.2f} s"
    )

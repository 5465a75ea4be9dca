"""Claims: which worker holds which run, and what it shall do with it; every change of hands is one SQLite transaction.

A run belongs to the worker named in its `worker` column. A worker writes to a run only under its own name, so one that was
taken for dead, or whose paused run another process took over, finds that it has lost the run and changes nothing.
"""

import secrets
import sqlite3
import time
from dataclasses import astuple, dataclass

from ilora.lab.runs.store import WAITING, Run, Store, StoreError

MOST_DEATHS = 2  # workers that may die over one round before the run fails

GOES_ON = ("run", "step")


class LostRunError(Exception):
    """The run was deleted, stopped or taken over by another process while a worker held it."""


@dataclass(frozen=True)
class Worker:
    """A process that trains: one of the pool that the app keeps, or a command line that trains its own run.

    Its fields are the columns of the table `workers`, in their order.
    """

    id: str
    kind: str  # "pool" or "cli"
    host: str
    pid: int
    identity: str  # tells the process from a later one with the same pid
    state: str  # "starting", "idle", "busy", "holding" a paused run, or "failed" to start
    heartbeat: float


def new_id(kind: str) -> str:
    """A worker's id that no other has."""
    return f"{kind}-{secrets.token_hex(3)}"


def claim(store: Store, worker: str) -> Run | None:
    """Take the run that has waited longest; None if none waits. No two workers get the same one."""
    if not store.read("SELECT 1 FROM runs WHERE status IN (?, ?) LIMIT 1", WAITING):
        return None
    with store.transaction() as db:
        waiting = db.execute("SELECT id FROM runs WHERE status IN (?, ?) ORDER BY queued, id", WAITING).fetchall()
        taken = (row["id"] for row in waiting if db.execute(_TAKE + "WHERE id = ?", (worker, time.time(), row["id"])).rowcount)
        run_id = next(taken, None)  # a run whose row is damaged cannot be taken
    return None if run_id is None else store.sound_run(run_id)


def take(store: Store, run_id: str, worker: str, wanted: str = "run") -> Run:
    """Take one certain run, even a paused one that another worker holds; StoreError if it is running or finished."""
    run = store.sound_run(run_id)
    taken = "WHERE id = ? AND status NOT IN ('running', 'finished')"
    with store.transaction() as db:
        if db.execute(_TAKE + taken, (worker, time.time(), run_id)).rowcount:
            db.execute("UPDATE runs SET wanted = ? WHERE id = ?", (wanted, run_id))
            return run
    if store.run(run_id).status == "running":
        raise StoreError(f"run {run_id} is running already, in worker {run.worker}; pause or stop it first.")
    raise StoreError(f"run {run_id} is finished after {run.rounds} rounds; start a new one with more rounds.")


_QUEUE = "status = 'queued', queued = (SELECT max(queued) + 1 FROM runs)"  # a turn, not a time: clocks are set
_TAKE = (
    "UPDATE runs SET status = 'running', worker = ?, started = coalesce(started, ?), ended = NULL, progress = 0, error = '',"
    " deaths = CASE WHEN status = 'interrupted' THEN deaths ELSE 0 END "
)


def want(store: Store, run_id: str, wanted: str) -> None:
    """Say what shall become of a run: "run", "pause", "step" or "stop".

    A worker that trains it obeys at the next round boundary (stop: at once); a run that no worker trains changes here.
    StoreError if a finished run is asked to go on; pausing or stopping what has ended changes nothing.
    """
    run = store.sound_run(run_id)
    waiting = "status IN ('queued', 'interrupted')"
    if wanted in GOES_ON:
        if run.status == "finished":
            raise StoreError(f"run {run_id} is finished after {run.rounds} rounds; start a new one with more rounds.")
        changes = [
            (f"{_QUEUE}, ended = NULL, error = '', deaths = 0", "status IN ('stopped', 'failed')"),
            (_QUEUE, "status = 'paused' AND worker = ''"),
        ]
    elif wanted == "pause":
        changes = [("status = 'paused'", waiting)]
    else:
        changes = [("status = 'stopped', worker = '', ended = :now", f"({waiting} OR status = 'paused')")]
    values = {"wanted": wanted, "run": run_id, "now": time.time()}
    with store.transaction() as db:
        db.execute("UPDATE runs SET wanted = :wanted WHERE id = :run AND status != 'finished'", values)
        for change, where in changes:
            db.execute(f"UPDATE runs SET {change} WHERE id = :run AND {where}", values)


def report(store: Store, run_id: str, worker: str, progress: float) -> str:
    """Note how far the round in flight is, 0..1, and return what is wanted; LostRunError if `worker` no longer holds the run."""
    with store.transaction() as db:
        db.execute("UPDATE workers SET heartbeat = ? WHERE id = ?", (time.time(), worker))
        sql = "UPDATE runs SET progress = ? WHERE id = ? AND worker = ? RETURNING wanted"
        rows = db.execute(sql, (progress, run_id, worker)).fetchall()
    if not rows:
        raise LostRunError(run_id)
    wanted: str = rows[0]["wanted"]
    return wanted


def hold(store: Store, run_id: str, worker: str) -> bool:
    """Turn a running run into a paused one that `worker` keeps in memory; False if it shall go on after all."""
    where = "WHERE id = ? AND worker = ? AND wanted IN ('pause', 'step')"
    return bool(store.write(f"UPDATE runs SET status = 'paused', wanted = 'pause' {where}", (run_id, worker)))


def go_on(store: Store, run_id: str, worker: str) -> bool:
    """Turn a held run into a running one if that is wanted; LostRunError if `worker` no longer holds it."""
    rows = store.read("SELECT wanted FROM runs WHERE id = ? AND worker = ?", (run_id, worker))
    if not rows:
        raise LostRunError(run_id)
    where = "WHERE id = ? AND worker = ? AND status = 'paused' AND wanted IN ('run', 'step')"
    return rows[0]["wanted"] in GOES_ON and bool(store.write(f"UPDATE runs SET status = 'running' {where}", (run_id, worker)))


def release(store: Store, run_id: str, worker: str) -> bool:
    """Give a held run back, still paused; False if somebody wants it to go on."""
    where = "WHERE id = ? AND worker = ? AND status = 'paused' AND wanted = 'pause'"
    return bool(store.write(f"UPDATE runs SET worker = '' {where}", (run_id, worker)))


def end(store: Store, run_id: str, worker: str, status: str, error: str = "") -> bool:
    """End a run as finished, stopped or failed; False if `worker` no longer holds it."""
    sql = "UPDATE runs SET status = ?, error = ?, ended = ?, progress = 0, worker = '' WHERE id = ? AND worker = ?"
    return bool(store.write(sql, (status, error, time.time(), run_id, worker)))


def somebody_waits(store: Store) -> bool:
    """Whether a run is in the queue and no pool worker is free to take it."""
    free = "SELECT 1 FROM workers WHERE kind = 'pool' AND state = 'idle'"
    return bool(store.read(f"SELECT 1 FROM runs WHERE status IN (?, ?) AND NOT EXISTS ({free}) LIMIT 1", WAITING))


def abandon(store: Store, worker: str) -> list[str]:
    """Take the runs of a dead worker out of its hands, and forget it; returns the ids of those that it was training.

    They wait for another worker as interrupted, end as stopped if that was wanted, and fail once MOST_DEATHS workers have
    died over one round and this is one more.
    """
    with store.transaction() as db:
        values = {"worker": worker, "now": time.time(), "most": MOST_DEATHS}
        running = [row["id"] for row in db.execute("SELECT id FROM runs WHERE worker = :worker AND status = 'running'", values)]
        db.execute("DELETE FROM workers WHERE id = :worker", values)
        for change, where in _AFTER_DEATH:
            db.execute(f"UPDATE runs SET {change}, worker = '', progress = 0 WHERE worker = :worker AND {where}", values)
    return running


_AFTER_DEATH = (
    (_QUEUE, "status = 'paused' AND wanted IN ('run', 'step')"),
    ("status = 'paused'", "status = 'paused'"),
    ("status = 'stopped', ended = :now", "wanted = 'stop'"),
    ("status = 'paused'", "wanted = 'pause'"),
    ("status = 'interrupted', deaths = deaths + 1", "deaths < :most"),
    (
        "status = 'failed', ended = :now, error = (deaths + 1) || ' workers died in round ' || (done + 1) ||"
        " ', and why is not known; see their logs, try fewer clients or a smaller batch if memory was short, or resume.'",
        "status = 'running'",
    ),
)


def workers(store: Store) -> list[Worker]:
    """All processes that train or are ready to."""
    return [_worker(row) for row in store.read("SELECT * FROM workers ORDER BY id")]


def _worker(row: sqlite3.Row) -> Worker:
    """The worker in a row; where a value is of another kind, in a damaged row or one of an earlier version, nothing is known."""
    kinds = {"id": str, "kind": str, "host": str, "pid": int, "identity": str, "state": str, "heartbeat": float}
    return Worker(**{name: row[name] if isinstance(row[name], kind) else kind() for name, kind in kinds.items()})


def register(store: Store, worker: Worker) -> None:
    """Enter a worker, or replace what was known of it."""
    store.write("INSERT OR REPLACE INTO workers VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(worker))


def reserve(store: Store, worker: Worker, most: int, patience: float) -> bool:
    """Enter a pool worker that is about to start, if none is free and fewer than `most` live.

    A failed start within the last `patience` seconds forbids another try.
    """
    with store.transaction() as db:
        states = [row["state"] for row in db.execute("SELECT state FROM workers WHERE kind = 'pool' AND state != 'failed'")]
        now = time.time()
        recent = (now - patience, now)  # a mark from the future comes from a clock that was set
        failed = db.execute("SELECT 1 FROM workers WHERE state = 'failed' AND heartbeat BETWEEN ? AND ?", recent).fetchone()
        if failed or len(states) >= most or {"starting", "idle"} & set(states):
            return False
        db.execute("INSERT INTO workers VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(worker))
    return True


def set_state(store: Store, worker: str, state: str) -> None:
    """Say what a worker does now, with a heartbeat."""
    store.write("UPDATE workers SET state = ?, heartbeat = ? WHERE id = ?", (state, time.time(), worker))


def confirm(store: Store, worker: str, pid: int, identity: str) -> None:
    """Enter the process of a worker that was reserved under its launcher's."""
    store.write("UPDATE workers SET pid = ?, identity = ? WHERE id = ?", (pid, identity, worker))

"""Runs are looked after whether or not a page is open, and a locked store is a line and no traceback."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from streamlit.web.server.app_discovery import discover_asgi_app

from ilora.lab.dashboard import data_access
from ilora.lab.runs import leases, pool, processes
from tests.stored_runs import EXPERIMENT

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many workers could be started, each time that one would have been; upkeep ends with the test."""
    starts: list[int] = []
    ended, threads = threading.Event(), set(threading.enumerate())
    monkeypatch.setattr(pool, "_start", lambda store, most: starts.append(most))
    monkeypatch.setattr(pool, "UPKEEP_SECONDS", 0.02)
    monkeypatch.setattr(pool, "keep_up", partial(pool.keep_up, ended=ended))
    yield starts
    ended.set()
    for thread in set(threading.enumerate()) - threads:
        thread.join(timeout=10)


def wait_for(condition, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.01)


def test_a_run_whose_worker_died_goes_on_with_no_page_open(store, started):
    run_id = store.add(EXPERIMENT, worker="dead")
    leases.register(store, replace(processes.this_process("dead", "pool", "busy"), identity="gone"))
    pool.keep_up(store.home)
    wait_for(lambda: store.run(run_id).status == "interrupted")
    wait_for(lambda: started)


def test_upkeep_starts_no_worker_that_nobody_needs(store, started):
    assert pool.keep_up(store.home).daemon
    time.sleep(0.3)
    assert started == []


def test_upkeep_outlives_a_store_that_cannot_be_used(store, started):
    run_id = store.add(EXPERIMENT, worker="dead")
    leases.register(store, replace(processes.this_process("dead", "pool", "busy"), identity="gone"))
    moved = store.home.rename(store.home.with_name("moved"))
    store.home.write_text("in the way")
    pool.keep_up(store.home)
    time.sleep(0.2)
    store.home.unlink()
    moved.rename(store.home)
    wait_for(lambda: store.run(run_id).status == "interrupted")


def test_the_server_begins_to_look_after_runs_when_it_starts():
    """Streamlit finds the app in app.py, and in it what happens at the start of the server."""
    assert discover_asgi_app(ROOT / "app.py").import_string == "app:app"
    assert "lifespan=kept_up" in (ROOT / "app.py").read_text(encoding="utf-8")


def test_the_life_of_the_server_is_looked_after(monkeypatch):
    import asyncio

    begun = []
    monkeypatch.setattr(pool, "keep_up", lambda: begun.append(True))

    async def live() -> None:
        async with data_access.kept_up(None):
            assert begun == [True]

    asyncio.run(live())


def test_tending_a_locked_store_is_a_line_and_waits_no_longer_than_a_page_can(store):
    store.add(EXPERIMENT, worker="dead")
    leases.register(store, replace(processes.this_process("dead", "pool", "busy"), identity="gone"))
    with closing(sqlite3.connect(store.file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        since = time.monotonic()
        line = pool.tend(store)
        assert time.monotonic() - since < pool.PATIENCE_SECONDS + 1
    assert "database is locked" in line
    assert "\n" not in line
    assert store.read("PRAGMA busy_timeout")[0][0] == 15_000, "everything else waits as long as before"

"""Runs that a page starts and watches: what is refused is said once, and the page looks again while a run is alive."""

from types import SimpleNamespace
from typing import Any

import pytest

from ilora.experiment import Experiment
from ilora.lab.dashboard import run_group
from ilora.lab.runs import pool
from ilora.lab.runs.leases import end
from ilora.lab.runs.store import Store, StoreError
from tests.factory import store_run

FULL = "The disk is full; delete some runs."
STARTS = {"playground": "run", "compare": "compare.run", "drift": "drift.both", "rewards": "rewards.run.aer", "": "home.run"}


@pytest.mark.parametrize("page", STARTS)
def test_a_start_that_the_store_refuses_is_one_sentence_shown_once(open_app, monkeypatch, page):
    def refuse(*args, **more):
        raise StoreError(FULL)

    app = open_app(page)
    monkeypatch.setattr(Store, "add", refuse)
    app.button(key=STARTS[page]).click().run()
    assert [error.value for error in app.error] == [FULL]
    assert not app.run().error


def test_workers_that_do_not_start_are_spoken_of_on_the_page_of_their_runs(open_app, store, monkeypatch):
    monkeypatch.setattr(pool, "tend", lambda store: "No worker starts: no room.")
    run_id = store_run(store, Experiment(rounds=2), done=1)
    app = open_app("playground", run=run_id)
    assert "No worker starts: no room." in [error.value for error in app.error]


@pytest.fixture
def looks(monkeypatch):
    """How often pages look again, in the order in which they were drawn."""
    seen = []

    def fragment(draw, run_every=None):
        seen.append(run_every)
        return draw

    monkeypatch.setattr(run_group.st, "fragment", fragment)
    return seen


def test_a_page_looks_again_only_while_one_of_its_runs_is_alive(store, monkeypatch, looks):
    monkeypatch.setattr(pool, "tend", lambda store: "")
    run_id = store.add(Experiment(), "a", worker="test")
    drawn: list[Any] = []
    run_group.watch(lambda: {"a": store.run(run_id)}, drawn.append)
    end(store, run_id, "test", "finished", "")
    run_group.watch(lambda: {"a": store.run(run_id)}, drawn.append)
    assert looks == [run_group.POLL_SECONDS, None]
    assert [runs["a"].active for runs in drawn] == [True, False]


def test_a_press_counts_even_where_the_run_has_just_ended(store, monkeypatch, looks):
    """The page starts anew when the timer has to stop; the controls are drawn before that."""

    def rerun():
        raise InterruptedError

    monkeypatch.setattr(run_group.st, "rerun", rerun)
    monkeypatch.setattr(pool, "tend", lambda store: "")
    alive, over = SimpleNamespace(id="a", active=True), SimpleNamespace(id="a", active=False)
    found: Any = iter([{"a": alive}, {"a": over}])
    told: list[Any] = []
    drawn: list[Any] = []
    with pytest.raises(InterruptedError):
        run_group.watch(lambda: next(found), drawn.append, told.append)
    assert told == [{"a": over}]
    assert not drawn

"""The explorer: one run, one round and one layer for a whole page, kept in the address."""

import pytest

from ilora.experiment import Experiment
from ilora.lab.content import recorded_run
from ilora.lab.dashboard.controls import run_explorer
from tests.factory import LAYERS, store_run


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption])


def address(app):
    return {name: value if isinstance(value, str) else value[0] for name, value in app.query_params.items()}


def at(app, run_id):
    return app.slider(key=f"round.{run_id}").value


def test_without_a_run_the_recorded_one_is_shown(open_app):
    app = open_app("subspaces")
    assert app.selectbox(key=run_explorer.RUN).value == recorded_run.ID
    assert at(app, recorded_run.ID) == 15
    assert "came with the program" in said(app)
    assert len(app.get("bidi_component")) >= 2


def test_the_newest_run_is_shown_and_another_can_be_picked(open_app, store):
    old = store_run(store, Experiment(rounds=3, seed=1), done=3)
    new = store_run(store, Experiment(rounds=2, seed=2), done=2)
    app = open_app("subspaces")
    assert app.selectbox(key=run_explorer.RUN).value == new
    app.selectbox(key=run_explorer.RUN).set_value(old).run()
    assert at(app, old) == 3
    assert address(app)["run"] == old


def test_a_link_names_run_round_and_layer(open_app, store):
    first = store_run(store, done=4)
    store_run(store, done=2)
    app = open_app("subspaces", run=first, round="2", layer=LAYERS[1])
    assert app.selectbox(key=run_explorer.RUN).value == first
    assert at(app, first) == 2
    assert app.selectbox(key="layer").value == LAYERS[1]
    assert "round 2" in said(app)


@pytest.mark.parametrize("query", [{"run": "nothing-here", "round": "x"}, {"round": "-3"}, {"layer": "no such layer"}])
def test_a_wrong_link_shows_something_all_the_same(open_app, query):
    app = open_app("subspaces", **query)
    assert ["'nothing-here' cannot be shown" in warning.value for warning in app.warning] == [True] * ("run" in query)
    assert app.selectbox(key=run_explorer.RUN).value == recorded_run.ID
    assert at(app, recorded_run.ID) == 15


def test_steps_stay_within_the_run(open_app, store):
    run_id = store_run(store, done=2)
    app = open_app("subspaces")
    app.button(key="on").click().run()
    assert at(app, run_id) == 2
    for expected in (1, 1):
        app.button(key="back").click().run()
        assert at(app, run_id) == expected


def test_a_step_goes_on_from_the_round_that_is_shown_whatever_the_slider_sends_along(open_app, store):
    run_id = store_run(store, done=6)
    app = open_app("subspaces")
    for button, sent, expected in (("back", 6, 5), ("back", 6, 4), ("on", 5, 5), ("on", 4, 6)):
        app.slider(key=f"round.{run_id}").set_value(sent)  # where the slider stood in a browser that has not drawn yet
        app.button(key=button).click().run()
        assert at(app, run_id) == expected


def test_play_goes_from_the_first_round_to_the_last_and_pauses(open_app, store, monkeypatch):
    run_id = store_run(store, done=3)
    app = open_app("subspaces")
    app.button(key="play").click().run()
    seen = [at(app, run_id)]
    monkeypatch.setattr(run_explorer, "PLAY_SECONDS", 0.0)  # every drawing is a tick
    for _ in range(3):
        app.run()
        seen.append(at(app, run_id))
    assert seen == [1, 2, 3, 3]
    assert not app.session_state[run_explorer.PLAYING]


def test_the_round_survives_a_change_of_page(open_app, store):
    run_id = store_run(store, done=4)
    app = open_app("subspaces")
    app.slider(key=f"round.{run_id}").set_value(2).run()
    app.switch_page("pages/runs.py").run()
    app.switch_page("pages/subspaces.py").run()
    assert at(app, run_id) == 2

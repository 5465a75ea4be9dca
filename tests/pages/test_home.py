"""Home: a film of a real run, four doors, and one press that runs."""

import json

from ilora.experiment import Experiment
from ilora.lab.content import recorded_run
from ilora.lab.dashboard.charts.animation import SLOW_ROUNDS, frames
from ilora.lab.figures.animation import PHASES


def test_home_is_the_first_page_and_has_four_doors(open_app):
    app = open_app("")
    assert app.title[0].value == "What is federated LoRA?"
    assert len(app.get("page_link")) == 4
    assert len(app.get("bidi_component")) == 1


def test_one_press_runs_the_default_experiment(open_app, store):
    app = open_app("")
    app.button(key="home.run").click().run()
    assert [run.experiment for run in store.runs()] == [Experiment()]
    assert app.title[0].value == "What happens if …?"


def test_an_old_link_to_the_first_page_still_opens_the_playground(open_app):
    app = open_app("", method="fedit")
    assert app.title[0].value == "What happens if …?"
    assert app.selectbox(key="setting.method").value == "fedit"


def test_the_film_says_the_numbers_of_the_recorded_run():
    told = frames()
    assert len(told) == SLOW_ROUNDS * len(PHASES) + recorded_run.run().done - SLOW_ROUNDS
    for index in (1, recorded_run.run().done):
        accuracy = recorded_run.round(index).accuracy
        merged = next(frame for frame in told if frame["caption"].startswith(f"Round {index}, aggregation"))
        assert f"{100 * accuracy:.0f} % of the test samples" in merged["caption"]
        assert f"server: {100 * accuracy:.0f} % right" in merged["figure"]
    first = json.loads(told[0]["figure"])
    assert "nothing learned yet" in told[0]["figure"]
    assert len([note for note in first["layout"]["annotations"] if note["showarrow"]]) == 8


def test_arrows_go_down_at_broadcast_and_up_at_upload():
    down, _, up = (
        [note for note in json.loads(frame["figure"])["layout"]["annotations"] if note["showarrow"]] for frame in frames()[:3]
    )
    assert all(note["y"] < note["ay"] for note in down)
    assert all(note["y"] > note["ay"] for note in up)

"""The pages that look inside: each draws on the recorded run, on a stored run, and does what its question asks."""

import pytest

from ilora.experiment import Experiment
from tests.factory import store_run

CHART = "bidi_component"


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.info])


def test_the_rules_follow_the_sliders(open_app):
    app = open_app("aggregation")
    assert len(app.get(CHART)) == 2
    before = said(app)
    assert "With 4 clients of ranks 2 to 8, averaging A and B loses" in before
    app.slider(key="try.clients").set_value(2).run()
    app.slider(key="try.overlap").set_value(1.0).run()
    assert "With 2 clients of ranks 2 to 8" in said(app)
    app.slider(key="try.rotation").set_value(1.0).run()
    assert "No client's update has changed" in said(app)


def test_the_rules_on_a_runs_own_factors_name_its_rule(open_app, store):
    run_id = store_run(store, Experiment(ranks=(2, 4, 8), method="flexlora", rounds=2), done=2)
    app = open_app("aggregation", run=run_id)
    app.segmented_control(key="aggregation.source").set_value("A run's real factors").run()
    assert not app.exception
    assert "The rule of this run, “Sum and SVD”, loses" in said(app)
    assert len(app.get(CHART)) == 2


@pytest.mark.parametrize("page", ["aggregation"])
def test_every_page_says_something_before_anything_was_run(open_app, page):
    app = open_app(page)
    assert len(app.get(CHART)) >= 1
    assert len(said(app)) > 100

"""The pages that look inside: each draws on the recorded run, on a stored run, and does what its question asks."""

import pytest

from ilora.experiment import Experiment
from ilora.lab.dashboard.views import round
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
    assert "BA is unchanged" in said(app)


def test_the_rules_on_a_runs_own_factors_name_its_rule(open_app, store):
    run_id = store_run(store, Experiment(ranks=(2, 4, 8), method="flexlora", rounds=2), done=2)
    app = open_app("aggregation", run=run_id)
    app.segmented_control(key="aggregation.source").set_value("A run's real factors").run()
    assert not app.exception
    assert "The rule of this run, “Sum and SVD”, loses" in said(app)
    assert len(app.get(CHART)) == 2


@pytest.mark.parametrize("page", ["aggregation", "round", "subspaces", "drift", "collapse", "data"])
def test_every_page_says_something_before_anything_was_run(open_app, page):
    app = open_app(page)
    assert len(app.get(CHART)) >= 1
    assert len(said(app)) > 100


def test_a_round_is_walked_step_by_step_and_the_learner_merges(open_app, store):
    run_id = store_run(store, Experiment(ranks=(4, 2, 8), method="flexlora", rounds=2, scaling="16/r"), done=2)
    app = open_app("round", run=run_id)
    assert app.selectbox(key="step.client").value == 1  # the one of the smallest rank
    assert "**Client 2 (rank 2)** has room for **2** of 8 slots" in said(app)
    assert "s = α/r = 16/2 = 8" in said(app)
    for words in ("**10 steps** of 16 samples", "sends its factors, and never its samples", "How should it aggregate them?"):
        app.button(key="step.next").click().run()
        assert words in said(app)
    assert len(app.get(CHART)) == 0
    app.button(key="step.merge").click().run()
    assert "“Mean of padded factors” loses" in said(app)
    app.selectbox(key="step.rule").set_value("svd").run()
    app.button(key="step.merge").click().run()
    assert "“Sum and SVD”, this run's own rule, loses" in said(app)
    assert "Of 2 rules that you tried, “Sum and SVD” loses least" in said(app)
    app.button(key="step.next").click().run()
    assert "Merged by *Sum and SVD*" in said(app)
    assert app.button(key="step.next").disabled
    app.button(key="step.back").click().run()
    assert not app.exception


def test_the_next_step_goes_on_from_the_one_that_is_shown_whatever_the_bar_sends_along(open_app):
    app = open_app("round")
    names = list(round.DRAWN)
    app.button(key="step.next").click().run()
    app.button_group(key=round.STEP).set_value(names[0])  # where the bar stood in a browser that has not drawn yet
    app.button(key="step.next").click().run()
    assert app.session_state[round.STEP] == names[2]


@pytest.mark.parametrize("method", ["fedhl", "fedsa-lora", "lora-a2", "flora"])
def test_every_step_draws_for_methods_of_every_kind(open_app, store, method):
    run_id = store_run(store, Experiment(ranks=(4, 2, 8), method=method, rounds=2), done=2)
    app = open_app("round", run=run_id)
    for step in range(5):
        if step == 3:
            app.button(key="step.merge").click().run()
        assert not app.exception, (step, app.exception)
        if step < 4:
            app.button(key="step.next").click().run()
    assert "the model goes back" in said(app)


@pytest.mark.parametrize(("page", "charts"), [("subspaces", 5), ("drift", 4), ("collapse", 5)])
def test_the_pages_about_directions_draw_on_a_stored_run(open_app, store, page, charts):
    run_id = store_run(store, Experiment(ranks=(4, 2, 8, 1), method="fedit", rounds=3), done=3)
    app = open_app(page, run=run_id, round="2")
    assert len(app.get(CHART)) == charts
    assert "ound 2" in said(app)


def test_a_client_can_be_chosen_whose_angles_are_drawn(open_app, store):
    run_id = store_run(store, Experiment(ranks=(4, 2, 8), rounds=2), done=2)
    app = open_app("subspaces", run=run_id)
    assert "Client 2 (rank 2) is closest to" in said(app)
    app.selectbox(key="subspaces.client").set_value(2).run()
    assert "Client 3 (rank 8) is closest to" in said(app)


def test_a_round_without_factors_says_so(open_app, store):
    run_id = store_run(store, done=2)
    for path in store.folder(run_id).glob("round-*"):
        path.unlink()
    app = open_app("drift", run=run_id)
    assert not app.exception


def test_control_variates_are_switched_on_and_off_by_one_button(open_app, store):
    app = open_app("drift")
    app.button(key="drift.both").click().run()
    assert not app.exception
    pair = {run.name: run.experiment for run in store.runs()}
    assert {name: e.recipe.ingredients["correction"] for name, e in pair.items()} == {
        "with control variates": "control-variates",
        "without": "none",
    }
    one, other = (e.replace(options={}) for e in pair.values())
    assert one == other


def test_a_method_without_a_correction_says_so(open_app, store):
    run_id = store_run(store, Experiment(method="fedit", rounds=2), done=2)
    assert "corrects no gradients" in said(open_app("drift", run=run_id))

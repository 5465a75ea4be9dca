"""Runs: everything that was ever run, and what can be done with it."""

from ilora.experiment import Experiment
from tests.factory import store_run


def test_an_empty_store_says_so(open_app):
    app = open_app("runs")
    assert "no runs yet" in app.info[0].value


def test_runs_are_listed_with_their_last_numbers(open_app, store):
    store_run(store, done=4)
    store_run(store, Experiment(method="fedit", rounds=9), done=2, status="stopped")
    table = open_app("runs").dataframe[0].value
    assert list(table["Method"]) == ["FedIT", "ILoRA"]
    assert list(table["Rounds"]) == ["2 of 9", "4 of 4"]
    assert list(table["Status"]) == ["stopped", "finished"]
    assert table["Accuracy"][1] == 60


def test_a_run_that_is_not_scored_by_accuracy_shows_its_own_score(open_app, store):
    store_run(store, done=4)
    store_run(store, Experiment(task="cola", rounds=2), done=2, scores={"matthews": 0.412, "accuracy": 0.7})
    table = open_app("runs").dataframe[0].value
    assert list(table["Other score"]) == ["matthews 0.412", ""]
    assert table["Accuracy"].isna().tolist() == [True, False]
    assert "CoLA" in table["Name"][0]


def test_a_run_without_a_finished_round_is_listed(open_app, store):
    store.add(Experiment())
    table = open_app("runs").dataframe[0].value
    assert table["Accuracy"].isna().all()


def test_a_run_of_a_method_that_is_gone_is_still_listed(open_app, store):
    run_id = store_run(store, done=1)
    store.write("UPDATE runs SET experiment = replace(experiment, 'ilora', 'gone') WHERE id = ?", (run_id,))
    assert list(open_app("runs").dataframe[0].value["Method"]) == ["unknown"]
    assert not open_app(run=run_id).button(key="run").disabled
    assert len(open_app("compare", runs=run_id).get("bidi_component")) == 1


def test_nothing_can_be_done_before_a_run_is_ticked(open_app, store):
    store_run(store, done=1)
    app = open_app("runs")
    assert all(app.button(key=f"runs.{name}").disabled for name in ("open", "compare", "edit", "delete"))

"""Compare: the same experiment for every method, side by side."""

import io

import pandas as pd
import pytest

from ilora.experiment import Experiment
from ilora.lab.analysis.measures import MEASURES
from ilora.lab.dashboard.views import compare, compare_entrants, compare_start
from tests.factory import store_run


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.warning])


def stored_pair(store, **other):
    first = store_run(store, Experiment(rounds=3, seed=1), done=3)
    second = store_run(store, Experiment(**{"method": "fedit", "rounds": 3, "seed": 1, **other}), done=2)
    return first, second


def test_all_methods_start_on_the_same_clients_and_seed(open_app, store):
    app = open_app("compare")
    app.button(key="compare.run").click().run()
    assert not app.exception
    runs = store.runs()
    assert {run.experiment.method for run in runs} == {"ilora", "fedit", "flora", "flexlora"}
    assert len({run.group for run in runs}) == 1
    plain = [run.experiment.replace(method="ilora") for run in runs]
    assert all(experiment == plain[0] for experiment in plain)


def test_a_value_that_is_left_by_pressing_run_all_counts(open_app, store):
    app = open_app("compare")
    app.number_input(key="setting.rounds").set_value(3)
    app.button(key="compare.run").click().run()
    assert {run.experiment.rounds for run in store.runs()} == {3}


def test_one_method_alone_cannot_be_compared(open_app):
    app = open_app("compare")
    app.multiselect(key="compare.methods").set_value(["ilora"]).run()
    assert "1 are chosen; allowed: 2 to 8" in said(app)
    assert app.button(key="compare.run").disabled


def test_modes_are_choices_of_their_own():
    made = compare_start.entrants(Experiment(clients=3), ["ilora", "ilora:official"])
    assert [dict(experiment.options) for experiment in made] == [{}, {"mode": "official"}]
    assert {experiment.clients for experiment in made} == {3}


@pytest.mark.parametrize("chosen", [[], ["ilora"], ["ilora", "ilora"]])
def test_too_few_choices_are_refused(chosen):
    with pytest.raises(ValueError, match="2 to 8"):
        compare_start.entrants(Experiment(), chosen)


def test_stored_runs_stand_side_by_side(open_app, store):
    pair = stored_pair(store)
    app = open_app("compare", runs=",".join(pair))
    assert len(app.get("bidi_component")) == len(compare.SHOWN) + 1  # and the trade-off
    assert "After round 2, test accuracy" in said(app) or "After round 2: test accuracy" in said(app)
    assert "Not like with like" not in said(app)


def test_runs_that_differ_in_more_than_the_method_carry_a_warning(open_app, store):
    pair = stored_pair(store, seed=2, alpha=5)
    app = open_app("compare", runs=",".join(pair))
    assert "Not like with like: these runs also differ in alpha, seed." in said(app)


def test_personal_and_common_accuracy_are_on_charts_of_their_own(open_app, store):
    pair = store_run(store, Experiment(rounds=2, method="fedsa-lora"), done=2), store_run(store, Experiment(rounds=2), done=2)
    app = open_app("compare", runs=",".join(pair))
    assert "Test accuracy of the common model" in said(app)
    assert "Personal accuracy" in said(app)
    assert "No line for FedSA-LoRA where there is no common model" in said(app)
    table, _ = compare_entrants.table(compare_entrants.entrants_of([store.run(run_id) for run_id in pair]))
    assert pd.isna(table["Test accuracy"][0])
    assert table["Test accuracy"][1] > 0


def test_the_budget_stands_under_the_charts(open_app, store):
    app = open_app("compare", runs=",".join(stored_pair(store, ranks="uniform")))
    assert "Parameter budgets differ" in said(app)


def test_methods_that_learn_from_rewards_are_not_offered_and_not_drawn(open_app, store):
    assert not {"aer", "mor"} & set(compare_start.choices())
    run_id = store_run(store, Experiment(rounds=1, method="aer"), done=1)
    app = open_app("compare", runs=",".join([run_id, *stored_pair(store)]))
    assert "AER" not in said(app)


def test_charts_against_megabytes(open_app, store):
    app = open_app("compare", runs=",".join(stored_pair(store)))
    app.session_state["compare.against"] = "megabytes_up"
    app.run()
    assert not app.exception


def test_the_best_of_a_column_is_marked_and_ties_are_not():
    titles = [MEASURES[name].title for name in compare_entrants.COLUMNS]
    frame = pd.DataFrame({"Run": ["A", "B"], "Seeds": [1, 1], "Rounds": [3, 3], **{title: [1.0, 2.0] for title in titles}})
    half = frame[titles] * float("nan")
    shown = compare_entrants.marked(frame, half)
    assert shown["Test accuracy"][1].startswith("**")
    assert shown["Test loss"][0].startswith("**")
    assert "**" not in "".join(shown["Subspace alignment"])
    tied = compare_entrants.marked(frame.assign(**{"Test accuracy": 0.5}), half)
    assert "**" not in "".join(tied["Test accuracy"])


def test_the_csv_holds_every_round_of_every_run(open_app, store):
    pair = stored_pair(store)
    open_app("compare")
    table = pd.read_csv(io.BytesIO(compare_entrants.as_csv([store.run(run_id) for run_id in pair])))
    assert table.groupby("run")["index"].max().to_dict() == {pair[0]: 3, pair[1]: 2}
    assert set(table["method"]) == {"ilora", "fedit"}


def test_names_tell_runs_apart(store, open_app):
    ids = [store_run(store, Experiment(rounds=1, seed=seed), done=1) for seed in (1, 2)]
    ids.append(store_run(store, Experiment(rounds=1, method="fedit"), done=1))
    names = compare_entrants.names_of([store.run(run_id) for run_id in ids])
    assert len(set(names.values())) == 3
    assert names[ids[2]] == "FedIT"


def test_a_link_to_runs_that_are_gone_shows_the_start(open_app):
    app = open_app("compare", runs="ilora-0000,fedit-0000")
    assert len(app.get("bidi_component")) == 1
    assert [warning.value.partition("'")[2].partition("'")[0] for warning in app.warning] == ["ilora-0000", "fedit-0000"]


def test_a_task_with_another_score_is_compared_by_that_score(open_app, store):
    scores = {"matthews": 0.412, "accuracy": 0.7}
    pair = [store_run(store, Experiment(task="cola", method=m, rounds=2), done=2, scores=scores) for m in ("ilora", "fedit")]
    app = open_app("compare", runs=",".join(pair))
    assert "Test Matthews correlation of the common model" in said(app)
    assert "After round 2: test Matthews correlation 0.412 for all." in said(app)
    assert "accuracy of the common model" not in said(app)
    table, half = compare_entrants.table(compare_entrants.entrants_of([store.run(run_id) for run_id in pair]))
    assert "Personal Matthews correlation" in table
    assert "Test accuracy" not in table
    assert len(compare_entrants.marked(table, half, "score matthews")) == 2


def test_a_run_with_another_score_has_no_line_beside_accuracies(open_app, store):
    first = store_run(store, Experiment(rounds=2), done=2)
    other = store_run(store, Experiment(task="cola", rounds=2), done=2, scores={"matthews": 0.412})
    runs = [store.run(first), store.run(other)]
    assert compare_entrants.table(compare_entrants.entrants_of(runs))[0]["Test accuracy"].isna().tolist() == [False, True]
    assert "Not like with like: these runs also differ in" in said(open_app("compare", runs=f"{first},{other}"))


def test_seeds_multiply_the_runs_and_whole_seeds_come_first(open_app, store):
    app = open_app("compare", seed="4")
    app.number_input(key="compare.seeds").set_value(2).run()
    app.button(key="compare.run").click().run()
    assert not app.exception
    runs = sorted(store.runs(), key=lambda run: run.created)
    assert [run.experiment.seed for run in runs] == [4] * 4 + [5] * 4
    assert len(compare_entrants.entrants_of(runs)) == 4


def by_seed(store, accuracies):
    return [
        store_run(store, Experiment(method=method, rounds=1, seed=seed), done=1, accuracy=accuracy)
        for method, own in accuracies.items()
        for seed, accuracy in enumerate(own)
    ]


SEEDED = {"ilora": [0.8, 0.9, 0.86], "fedit": [0.7, 0.81, 0.75]}


def test_runs_of_one_experiment_under_several_seeds_are_one_line_with_a_tested_lead(open_app, store):
    app = open_app("compare", runs=",".join(by_seed(store, SEEDED)))
    text = said(app)
    assert "Means of 3 seeds, with 95 % intervals. After round 1, test accuracy is best with ILoRA, 85.3 %" in text
    assert "In test accuracy, ILoRA has the best mean. It is significantly better than FedIT (3 seeds)." in text
    assert "Paired t-test over the seeds, Holm's correction for 1 comparison." in text
    assert "Not like with like" not in text
    found = compare_entrants.entrants_of(store.runs())
    assert [len(entrant.runs) for entrant in found] == [3, 3]
    mean, half = compare_entrants.table(found)
    shown = compare_entrants.marked(mean, half)
    accuracy = dict(zip(shown["Run"], shown["Test accuracy"], strict=True))
    assert accuracy["ILoRA"].startswith("**85.3 %** ± 12.5")
    assert set(shown["Seeds"]) == {"3"}


def test_one_seed_is_not_tested_and_the_page_says_how_it_would_be(open_app, store):
    assert "One seed cannot tell. Set **Seeds** to three or more" in said(open_app("compare", runs=",".join(stored_pair(store))))


def test_entrants_under_different_seeds_are_not_like_with_like(open_app, store):
    ids = by_seed(store, {"ilora": [0.8, 0.9], "fedit": [0.7]})
    assert "these runs also differ in seed." in said(open_app("compare", runs=",".join(ids)))


def test_a_run_that_is_there_twice_stands_by_itself(store, open_app):
    ids = [store_run(store, Experiment(rounds=1), done=1) for _ in range(2)]
    open_app("compare")
    assert len(compare_entrants.entrants_of([store.run(run_id) for run_id in ids])) == 2


def test_two_measures_stand_against_each_other_and_the_dominated_is_named(open_app, store):
    app = open_app("compare", runs=",".join(by_seed(store, SEEDED)))
    app.selectbox(key="compare.across").select("loss").run()
    app.selectbox(key="compare.up").select("accuracy").run()
    assert "Test loss against test accuracy: no method is better than ILoRA in both. Dominated: FedIT by ILoRA." in said(app)


def test_a_measure_that_moves_across_makes_way_upwards(open_app, store):
    app = open_app("compare", runs=",".join(by_seed(store, SEEDED)))
    assert app.selectbox(key="compare.up").value == "accuracy"
    app.selectbox(key="compare.across").select("accuracy").run()
    assert not app.exception
    assert app.selectbox(key="compare.up").value != "accuracy"


def test_who_has_no_value_of_a_measure_is_not_on_the_front(open_app, store):
    pair = store_run(store, Experiment(rounds=2, method="fedsa-lora"), done=2, aggregation_error=float("nan"))
    app = open_app("compare", runs=f"{pair},{store_run(store, Experiment(rounds=2), done=2)}")
    app.selectbox(key="compare.up").select("aggregation_error").run()
    assert "no method is better than ILoRA in both." in said(app)

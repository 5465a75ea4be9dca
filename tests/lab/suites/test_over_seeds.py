"""The table that the documents quote: intervals are Student's, rows are sorted, sentences say no more than the table."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ilora.experiment import Experiment
from ilora.lab.analysis.significance import interval
from ilora.lab.runs.store import Store
from ilora.lab.suites.over_seeds import CONTROLS, Row, report, rows_of, run_seeds, sentences, write_results
from ilora.methods import METHODS


def frame(**accuracies: tuple[float, float]) -> pd.DataFrame:
    lines = [
        {
            "method": name.replace("_", " "), "seeds": 5, "accuracy": mean, "accuracy +-": half, "loss": 0.5, "loss +-": 0.1,
            "aggregation error": 0.01, "aggregation error +-": 0.0, "drift": 2.0, "drift +-": 0.1, "MB up": 1.0, "MB down": 2.0,
            "provenance": "exact", "personalised": name == "Own",
        }
        for name, (mean, half) in accuracies.items()
    ]  # fmt: skip
    return pd.DataFrame(lines).sort_values("accuracy", ascending=False, ignore_index=True)


def test_the_interval_is_students():
    values = [0.81, 0.84, 0.79, 0.88, 0.83]
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high))


def test_a_leader_is_named_with_those_whose_intervals_overlap_its_own():
    text = " ".join(sentences(frame(A=(0.9, 0.02), B=(0.87, 0.02), C=(0.8, 0.01))))
    assert "A has the highest mean accuracy, 90.0%" in text
    assert "overlap with its own: B." in text
    assert "C" not in text


def test_iloras_numbers_are_given_without_a_rank_and_with_their_cost():
    table = frame(FedIT=(0.9, 0.001), **{"ILoRA, corrected": (0.8, 0.001), "ILoRA, no control variates": (0.7, 0.001)})
    text = " ".join(sentences(table))
    assert "ILoRA in its corrected mode has 80.0%" in text
    assert "+10.0 points" in text
    assert "not equal compute" in text
    assert "place" not in text


def test_every_row_of_the_report_stands_in_the_table():
    document = report(Experiment(), frame(A=(0.9, 0.02), B=(0.87, 0.02)))
    assert document.count("\n| ") == 3
    assert "| A | 5 | 90.0 ± 2.0 | 0.500 ± 0.100 | 0.01 | 2.0 | 1.0 | 2.0 | exact |" in document


def test_methods_without_a_common_model_stand_apart():
    document = report(Experiment(), frame(A=(0.9, 0.02), Own=(0.95, 0.02)))
    ranking, _, apart = document.partition("## A model for each client")
    assert "A has the highest mean accuracy" in ranking
    assert "| Own |" not in ranking
    assert "| Own | 5 | 95.0" in apart


def test_iloras_modes_and_its_ablation_have_rows_of_their_own():
    titles = [row.title for row in rows_of(["ilora", "fedit"])]
    modes = ["ILoRA, corrected", "ILoRA, paper", "ILoRA, official", "ILoRA, transported"]
    assert titles == [*modes, "ILoRA, no control variates", "FedIT"]


def test_methods_that_learn_from_rewards_have_no_row():
    assert [row.method for row in rows_of(["aer", "mor", "fedit"])] == ["fedit"]


def test_negative_controls_stand_apart_and_say_what_their_rows_say():
    (harmful, *_, plain) = CONTROLS["One client with random labels"]
    document = report(Experiment(), frame(A=(0.9, 0.02), **{harmful.title: (0.5, 0.02), plain.title: (0.8, 0.02)}))
    ranking, _, apart = document.partition("## Negative controls")
    assert harmful.title not in ranking
    assert f"| {harmful.title} | 5 | 50.0" in apart
    assert "-30.0 points of accuracy. Their intervals do not overlap." in apart


def test_every_control_is_an_experiment_and_ends_with_the_plain_one():
    for rows in CONTROLS.values():
        assert len({row.title for row in rows}) == len(rows) >= 2
        for row in rows:
            Experiment(method=row.method, options=row.options, **row.changes)
        assert rows[-1].options in ({"weighting": "samples"}, {})


def test_a_suite_goes_on_with_what_an_interrupted_call_left(tmp_path, monkeypatch):
    store, base = Store(tmp_path), Experiment(ranks=[1, 2], rounds=1)
    monkeypatch.setattr("ilora.lab.suites.over_seeds.wait_for", lambda store, ids: None)
    first = run_seeds(store, base, rows_of(["fedit"]), 2)
    again = run_seeds(store, base, [*rows_of(["fedit"]), Row("twice", "fedit", {})], 3)
    assert [run.id for run in again["FedIT"]][:2] == [run.id for run in first["FedIT"]]
    assert [run.id for run in again["twice"]] == [run.id for run in again["FedIT"]]
    assert len(store.runs()) == 3


def test_every_row_of_the_suite_is_an_experiment():
    for row in rows_of(list(METHODS)):
        Experiment(method=row.method, options=row.options, **row.changes)


@pytest.mark.slow
def test_a_suite_trains_every_seed_once_and_reuses_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setenv("ILORA_HOME", str(tmp_path / "home"))
    base = Experiment(ranks=[1, 2], rounds=1, local_steps=1)
    first = write_results(tmp_path / "results.md", base, ["flora"], 2)
    runs = len(Store().runs())
    again = write_results(tmp_path / "results.md", base, ["flora"], 2)
    assert runs == len(Store().runs()) == 2
    pd.testing.assert_frame_equal(first, again)
    assert "| FLoRA | 2 |" in (tmp_path / "results.md").read_text(encoding="utf-8")

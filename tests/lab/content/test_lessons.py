"""Lessons are whole, and the right answer is what the runs show, not what somebody wrote down."""

import pandas as pd
import pytest

from ilora.lab.analysis.measures import MEASURES, with_totals
from ilora.lab.content.lessons import Check, Quantity, all_lessons
from ilora.lab.dashboard.charts.catalogue import CHARTS
from tests.factory import make_history

LESSONS = all_lessons()


def test_there_are_eight_in_the_order_of_the_course():
    assert list(LESSONS) == [
        "lora-and-rank", "non-iid-clients", "averaging-factors", "stacking-svd-qr", "where-to-start", "drift", "rank-collapse",
        "which-method-when",
    ]  # fmt: skip


@pytest.mark.parametrize("lesson", LESSONS.values(), ids=LESSONS)
def test_a_lesson_asks_about_what_it_runs_and_shows(lesson):
    experiments = lesson.experiments(seed=3)
    assert {experiment.seed for experiment in experiments.values()} == {3}
    assert len({experiment.to_json() for experiment in experiments.values()}) == len(lesson.arms) >= 2
    assert sum(experiment.rounds * experiment.clients for experiment in experiments.values()) <= 100, "too long for a lesson"
    table = with_totals(make_history(5))
    for step in lesson.steps:
        assert step.expected in step.choices
        assert [choice for choice, _ in step.check.bands] == sorted(
            {c for c, _ in step.check.bands}, key=[c for c, _ in step.check.bands].index
        )
        assert {choice for choice, _ in step.check.bands} == set(step.choices)
        uppers = [upper for _, upper in step.check.bands]
        assert uppers == sorted(uppers)
        assert uppers[-1] == float("inf")
        for quantity in filter(None, (step.check.of, step.check.minus, step.check.over)):
            assert quantity.arm in lesson.arms
            assert quantity.measure in MEASURES
            assert quantity.measure in table
        for chart in step.charts:
            arm, _, name = chart.partition(":")
            assert (name in CHARTS and arm in lesson.arms) if name else chart in MEASURES
        assert step.explain


def history(*accuracies):
    return make_history(len(accuracies)).assign(accuracy=accuracies)


BANDS = {"bands": [["lower", -0.02], ["same", 0.02], ["higher", float("inf")]]}


@pytest.mark.parametrize(("last", "answer"), [(0.4, "lower"), (0.51, "same"), (0.9, "higher"), (float("nan"), "")])
def test_the_answer_follows_the_runs(last, answer):
    check = Check.parse({"of": "b.accuracy", "minus": "a.accuracy", **BANDS})
    assert check.answer({"a": history(0.1, 0.5), "b": history(0.1, last)}) == answer


def test_a_quantity_can_be_of_an_early_round_and_a_ratio():
    runs = {"a": history(0.2, 0.5), "b": history(0.4, 0.6)}
    assert Quantity.parse("b.accuracy@1").value(runs) == 0.4
    check = Check.parse({"of": "b.accuracy@1", "over": "a.accuracy@1", **BANDS})
    assert check.value(runs) == 2
    assert check.sentence(runs, {"a": "first", "b": "second"}) == (
        "Test accuracy in these runs: 40.0 % (second, round 1), twice the 20.0 % (first, round 1)."
    )


def test_nothing_is_not_given_as_a_ratio():
    runs = {"a": history(0.2, 0.5), "b": history(0.4, 1e-7)}
    check = Check.parse({"of": "b.accuracy", "over": "a.accuracy", **BANDS})
    assert ") against 50.0 %" in check.sentence(runs, {"a": "first", "b": "second"})


def test_a_ratio_other_than_two_is_given_as_a_number():
    runs = {"a": history(0.2, 0.4), "b": history(0.4, 0.6)}
    check = Check.parse({"of": "b.accuracy", "over": "a.accuracy", **BANDS})
    assert check.sentence(runs, {"a": "first", "b": "second"}) == (
        "Test accuracy in these runs: 60.0 % (second), 1.5 times the 40.0 % (first)."
    )


def test_two_measures_held_against_each_other_are_both_named():
    runs = {"a": history(0.2, 0.5).assign(train_loss=0.96, loss=1.18)}
    check = Check.parse({"of": "a.train_loss", "minus": "a.loss", **BANDS})
    assert check.sentence(runs, {"a": "first"}) == "Training loss in these runs: 0.96 (first) against test loss 1.18 (first)."


def test_a_run_without_rounds_gives_no_answer():
    check = Check.parse({"of": "a.accuracy", **BANDS})
    assert check.answer({"a": pd.DataFrame(columns=make_history(1).columns)}) == ""

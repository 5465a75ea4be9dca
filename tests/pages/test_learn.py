"""Learn and Teach: predict first, then the runs decide; a class is counted and nobody is named."""

import json

import pytest

from ilora.experiment import Experiment
from ilora.lab.content.classroom import Classroom, new_learner
from ilora.lab.content.lessons import all_lessons
from ilora.lab.runs.leases import end
from tests.factory import make_facts, make_round

LESSON = all_lessons()["non-iid-clients"]


def said(app):
    elements = [*app.markdown, *app.caption, *app.success, *app.warning, *app.info]
    return " ".join(element.value for element in elements)


def finish(store, **accuracies):
    """Let the lesson's queued runs end as workers would, with these last accuracies."""
    arms = {experiment.to_json(): arm for arm, experiment in LESSON.experiments().items()}
    for run in store.runs():
        experiment = run.experiment
        store.write("UPDATE runs SET status = 'running', worker = 'test' WHERE id = ?", (run.id,))
        store.save_facts(run.id, make_facts(experiment.client_ranks))
        for index in range(1, run.rounds + 1):
            changes = {"accuracy": accuracies[arms[run.experiment_json]]}
            store.save_round(run.id, make_round(index, experiment.client_ranks, **changes), "test")
        end(store, run.id, "test", "finished", "")


def answer(app, number, choice):
    app.radio(key=f"answer.{LESSON.id}.{number}").set_value(choice).run()
    app.button(key=f"lock.{number}").click().run()
    assert not app.exception


def test_eight_lessons_are_offered_and_one_opens(open_app):
    app = open_app("learn")
    assert all(lesson.title in said(app) for lesson in all_lessons().values())
    app.button(key=f"learn.open.{LESSON.id}").click().run()
    assert app.title[0].value == LESSON.question
    assert LESSON.steps[0].ask in [radio.label for radio in app.radio]


def test_nothing_runs_and_nothing_is_shown_before_the_prediction(open_app, store):
    app = open_app("learn", lesson=LESSON.id)
    assert store.runs() == []
    assert not app.get("bidi_component")
    assert app.button(key="lock.0").disabled
    answer(app, 0, "lower")
    assert {run.experiment_json for run in store.runs()} == {e.to_json() for e in LESSON.experiments().values()}


@pytest.mark.parametrize(
    ("skewed", "choice", "words"),
    [
        (0.3, "lower", "You predicted this: Worse"),
        (0.3, "higher", "It turned out otherwise: Worse"),
        (0.9, "higher", "You predicted this: Better"),
    ],
)
def test_the_runs_decide_what_was_right(open_app, store, skewed, choice, words):
    learner = new_learner()
    app = open_app("learn", lesson=LESSON.id, learner=learner)
    answer(app, 0, choice)
    finish(store, even=0.6, skewed=skewed)
    app.run()
    assert words in said(app)
    assert ("Most seeds show a different answer" in said(app)) == (skewed > 0.6)
    assert "Test accuracy in these runs" in said(app)
    assert Classroom(store).answers(learner)[LESSON.id, 0].good == words.startswith("You predicted")
    assert LESSON.steps[1].ask in [radio.label for radio in app.radio]


def test_progress_comes_back_with_the_address_and_can_be_forgotten(open_app, store):
    learner = new_learner()
    app = open_app("learn", lesson=LESSON.id, learner=learner)
    answer(app, 0, "lower")
    finish(store, even=0.6, skewed=0.3)
    for number in (1, 2):
        app.run()
        answer(app, number, LESSON.steps[number].expected)
    assert LESSON.recap.split(".")[0] in said(app)
    again = open_app("learn", learner=learner)
    assert "3 of 3 answered" in said(again)
    app.button(key="learn.over").click().run()
    assert Classroom(store).answers(learner) == {}


def test_another_seed_runs_anew(open_app, store):
    app = open_app("learn", lesson=LESSON.id)
    answer(app, 0, "lower")
    finish(store, even=0.6, skewed=0.3)
    for number in (1, 2):
        app.run()
        answer(app, number, LESSON.steps[number].expected)
    app.button(key="learn.reseed").click().run()
    assert {json.loads(run.experiment_json)["seed"] for run in store.runs()} == {0, 1}


def test_a_wrong_lesson_or_learner_in_the_address_does_no_harm(open_app):
    app = open_app("learn", lesson="none", learner="Ada", room="??")
    assert app.title[0].value == "How does it work?"


def test_an_answer_that_is_changed_just_before_it_is_sent_counts_as_changed(open_app, store):
    learner = new_learner()
    app = open_app("learn", lesson=LESSON.id, learner=learner)
    first, second, *_ = LESSON.steps[0].choices
    app.radio(key=f"answer.{LESSON.id}.0").set_value(first).run()
    app.radio(key=f"answer.{LESSON.id}.0").set_value(second)
    app.button(key="lock.0").click().run()
    assert Classroom(store).answers(learner)[LESSON.id, 0].choice == second


def test_a_class_is_counted_in_its_room(open_app, store):
    app = open_app("learn", lesson=LESSON.id, room="abcde")
    answer(app, 0, "lower")
    teacher = open_app("teach", code="ABCDE")
    assert "1 learner has answered" in said(teacher)
    assert "1 answered, 1 of them what most runs show" in said(teacher)
    assert "/learn?room=ABCDE" in " ".join(block.value for block in teacher.code)


def test_the_room_that_is_entered_is_the_one_that_was_typed_last(open_app):
    app = open_app("teach")
    app.text_input(key="teach.code").set_value("ABCDE").run()
    app.text_input(key="teach.code").set_value("FGHJK")
    app.button(key="teach.enter").click().run()
    assert "/learn?room=FGHJK" in " ".join(block.value for block in app.code)


def test_a_teacher_opens_a_room_and_unticks_controls(open_app):
    app = open_app("teach")
    app.button(key="teach.new").click().run()
    assert "Room " in said(app)
    app.checkbox(key="teach.show.seed").uncheck()
    app.checkbox(key="teach.show.training").uncheck().run()
    assert "/playground?hide=seed%2Ctraining" in " ".join(block.value for block in app.code)


def test_a_classroom_link_hides_controls_and_keeps_their_values(open_app, store):
    app = open_app("playground", hide="seed,training,method,ingredients", seed="7", method="fedit", lr="0.01")
    keys = {element.key for kind in (app.selectbox, app.number_input, app.text_input) for element in kind}
    assert not keys & {"setting.seed", "setting.lr", "setting.method", "setting.optimizer"}
    assert "setting.rounds" in keys
    app.button(key="run").click().run()
    assert store.runs()[0].experiment == Experiment(method="fedit", seed=7, lr=0.01)
    assert "hide" in app.query_params

"""The page on uncertainty: it shows what a round keeps, and says so where it keeps nothing."""

from ilora.experiment import Experiment
from ilora.lab.analysis.shown_samples import read_tested
from ilora.lab.runs.leases import end
from tests.factory import make_calibration_round, make_facts, make_round, store_run


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.info])


def store_sure(store, who="clients", rounds=2, members=4, **changes):
    run_id = store.add(Experiment(rounds=rounds, clients=4, **changes), worker="test")
    store.save_facts(run_id, make_facts())
    for index in range(1, rounds + 1):
        kept, _, _ = make_calibration_round(members, who, index)
        record = make_round(index, scores=kept.scores, pictures=kept.pictures)
        assert store.save_round(run_id, record, "test")
    end(store, run_id, "test", "finished", "")
    return run_id


def test_a_run_shows_reliability_measures_and_an_ensemble(open_app, store):
    run_id = store_sure(store)
    app = open_app("uncertainty")
    text = said(app)
    for expected in (
        "The server's model is",
        "The clients together are",
        "A client alone is",
        "lowest calibration error",
        "clients say",
    ):
        assert expected in text
    assert "It is not LoRA-Ensemble" in text
    assert "keeps no image" in text
    first = text
    app.slider(key=f"round.{run_id}").set_value(1).run()
    assert "in round 1" in said(app)
    assert said(app) != first
    app.slider(key="uncertainty.sample").set_value(64).run()
    assert not app.exception


def test_an_ensemble_offers_its_members_and_the_clients(open_app, store):
    store_sure(store, who="members")
    app = open_app("uncertainty")
    assert "The ensemble is" in said(app)
    assert "members say" in said(app)


def test_with_one_client_nothing_is_said_of_the_clients_together(open_app, store):
    store_sure(store, members=1)
    text = said(open_app("uncertainty"))
    assert "The only client is" in text
    assert "clients together" not in text.lower()


def test_a_run_that_keeps_no_probabilities_says_so(open_app, store):
    store_run(store)
    assert "keeps no probabilities" in said(open_app("uncertainty"))


def test_a_text_run_shows_the_sentence_that_is_asked_about(open_app, store):
    store_sure(store, task="toy-text")
    app = open_app("uncertainty")
    tested = {text for (text,) in read_tested("toy-text").texts["plain"]}
    first = [element.value for element in app.text]
    assert len(first) == 1
    assert first[0] in tested
    app.slider(key="uncertainty.sample").set_value(64).run()
    assert [element.value for element in app.text] != first
    assert "no image" not in said(app)


def test_a_text_run_whose_files_are_elsewhere_says_where_they_should_be(open_app, store):
    store_sure(store, task="sst2", data="/nowhere")
    assert "The sentence cannot be shown. SST-2's files are not in /nowhere" in said(open_app("uncertainty"))

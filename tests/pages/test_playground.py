"""The playground: settings become an experiment, a link brings them back, and every wrong value is named."""

import pytest
from streamlit.testing.v1 import AppTest

from ilora import tasks
from ilora.experiment import Experiment, settings_for
from ilora.lab.content.glossary import GLOSSARY
from ilora.lab.content.scenarios import SCENARIOS
from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.catalogue import CHARTS
from ilora.lab.dashboard.charts.view import View
from ilora.lab.dashboard.controls import experiment_form, form_field, sweep
from ilora.lab.figures.frame import GREY
from ilora.lab.runs.pace import duration
from ilora.methods import METHODS
from ilora.tasks import TASKS
from tests.factory import make_facts, make_round, store_run

DEFAULT = Experiment()


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.error])


def setting(app, kind, name):
    return getattr(app, kind)(key=f"setting.{name}")


def round_slider(app):
    return next(slider for slider in app.slider if slider.label == "Round")


def address(app):
    return {name: value if isinstance(value, str) else value[0] for name, value in app.query_params.items()}


def newest(store):
    return store.runs()[0]


def test_a_newcomer_sees_a_picture_and_can_run(open_app):
    app = open_app()
    assert "press **run**" in said(app).lower()
    assert len(app.get("bidi_component")) == 1
    assert not app.button(key="run").disabled
    assert app.button(key="pause").disabled
    assert app.button(key="stop").disabled


def test_run_submits_exactly_the_default_experiment(open_app, store):
    app = open_app()
    app.button(key="run").click().run()
    assert not app.exception
    assert newest(store).experiment == DEFAULT
    assert newest(store).status == "queued"
    assert address(app)["run"] == newest(store).id
    assert app.button(key="run").disabled


@pytest.mark.parametrize("button", ["run", "step"])
def test_a_value_that_is_left_by_pressing_run_counts(open_app, store, button):
    """A browser sends both at once: the value because the field loses the focus, and the press."""
    app = open_app()
    setting(app, "number_input", "rounds").set_value(3)
    app.button(key=button).click().run()
    assert newest(store).experiment.rounds == 3


def test_the_controls_make_the_experiment(open_app, store):
    app = open_app()
    setting(app, "selectbox", "method").select("fedit")
    setting(app, "selectbox", "profile").select("paper")
    setting(app, "number_input", "clients").set_value(6)
    setting(app, "select_slider", "alpha").set_value(10.0)
    setting(app, "number_input", "rounds").set_value(3).run()
    app.button(key="run").click().run()
    expected = Experiment(method="fedit", ranks="paper", clients=6, alpha=10, rounds=3)
    assert newest(store).experiment == expected


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_chosen_and_keeps_its_own_recipe(open_app, store, method):
    app = open_app()
    setting(app, "selectbox", "method").select(method).run()
    assert not app.exception
    skew = METHODS[method].needed_skew or "label"
    if skew != "label":
        assert f"allowed: {skew}" in " ".join(text.value for text in app.markdown)
        setting(app, "selectbox", "skew").select(skew).run()
    app.button(key="run").click().run()
    assert newest(store).experiment == Experiment(method=method, skew=skew)


def test_a_list_of_ranks_makes_the_clients(open_app, store):
    app = open_app()
    setting(app, "selectbox", "profile").select("list").run()
    setting(app, "text_input", "ranks").set_value("2, 4,16").run()
    app.button(key="run").click().run()
    assert newest(store).experiment.client_ranks == (2, 4, 16)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("2, 0", "ranks is 0"), ("2, 65", "ranks is 65"), ("", "ranks is"), ("2, two", "ranks is 'two'"), ("2, -1", "ranks is -1")],
)
def test_wrong_ranks_are_named_and_nothing_runs(open_app, store, text, sentence):
    app = open_app()
    setting(app, "selectbox", "profile").select("list").run()
    setting(app, "text_input", "ranks").set_value(text).run()
    assert not app.exception
    assert sentence in said(app).replace("\\", "")
    assert app.button(key="run").disabled
    assert app.button(key="step").disabled


def test_a_wrong_scaling_is_named(open_app):
    app = open_app()
    setting(app, "text_input", "scaling").set_value("much").run()
    assert "scaling is 'much'" in said(app)
    assert app.button(key="run").disabled


def test_before_run_the_page_says_what_is_fetched_and_how_long_a_round_takes(open_app, tmp_path):
    text = said(open_app(task="cifar10", data=str(tmp_path)))
    assert "CIFAR-10 is downloaded first: 170 MB, once." in text
    assert "for a round" in text
    assert "Nobody has timed this backbone" in said(open_app(task="sst2", backbone="some/model", data=str(tmp_path)))


def test_an_ingredient_can_be_swapped(open_app, store):
    app = open_app()
    app.selectbox(key="option.ilora.corrected.aggregate").select("svd").run()
    app.button(key="run").click().run()
    assert newest(store).experiment == Experiment(options={"aggregate": "svd"})


def test_a_mode_and_its_options_go_together(open_app, store):
    app = open_app()
    app.session_state["option.ilora..mode"] = "official"
    app.run()
    assert "authors' code" in said(app)
    app.button(key="run").click().run()
    assert newest(store).experiment == Experiment(options={"mode": "official"})


LINKED = Experiment(
    method="flora", ranks=(2, 8), skew="shards", shards=3, noisy_clients=1, participation=0.123, rounds=7, lr=0.01, seed=42,
    scaling="16/r", local_steps=3, batch_size=8, optimizer="sgd", targets=("query", "mlp-in"),
)  # fmt: skip


@pytest.mark.parametrize(
    "experiment",
    [
        DEFAULT,
        LINKED,
        Experiment(alpha=0.07),
        Experiment(ranks="one-giant", clients=20, options={"mode": "paper", "aggregate": "svd"}),
    ],
    ids=["default", "everything", "odd alpha", "options"],
)
def test_a_link_shows_the_same_settings(open_app, store, experiment):
    app = open_app(**experiment.to_query())
    app.button(key="run").click().run()
    assert not app.exception
    assert newest(store).experiment == experiment


def test_the_address_follows_the_settings(open_app):
    app = open_app()
    setting(app, "selectbox", "method").select("fedit").run()
    setting(app, "number_input", "rounds").set_value(4).run()
    query = address(app)
    assert Experiment.from_query(query) == Experiment(method="fedit", rounds=4)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ({"alpha": "-1"}, "alpha is -1"),
        ({"alpha": "nan"}, "alpha is nan"),
        ({"method": "magic"}, "method is 'magic'"),
        ({"task": "chess"}, "task is 'chess'"),
        ({"ranks": "2,x"}, "ranks is 'x'"),
        ({"ranks": "0"}, "ranks is 0"),
        ({"clients": "99999"}, "clients is 99999"),
        ({"rounds": "1e99"}, "rounds is"),
        ({"options": "{"}, "options is '{'"),
        ({"options": '{"deltas": 3}'}, "option deltas is 3"),
        ({"seed": "abc"}, "seed is 'abc'"),
        ({"lr": "inf"}, "lr is inf"),
        ({"targets": "nose"}, "targets is 'nose'"),
        ({"participation": "0"}, "participation is 0"),
    ],
    ids=str,
)
def test_a_wrong_link_is_explained_and_the_default_stands(open_app, store, query, sentence):
    app = open_app(**query, local_steps="5")
    text = said(app).replace("\\", "")
    assert sentence in text
    assert "default is used instead" in text
    app.button(key="run").click().run()
    assert newest(store).experiment == Experiment(local_steps=5)


def test_a_wrong_value_of_a_setting_without_a_control_is_said_until_a_control_is_used(open_app):
    app = open_app(ranks="2,4", clients="5", skew="iid", alpha="-1")
    text = said(app).replace("\\", "")
    assert "clients is 5; allowed: 2, the number of ranks given." in text
    assert "alpha is -1" in text
    setting(app, "number_input", "rounds").set_value(4).run()
    assert "the number of ranks given" not in said(app)
    assert "not right" not in said(app)


def controls(app):
    """Every control of a setting, by the setting's name."""
    kinds = ("selectbox", "number_input", "text_input", "select_slider", "multiselect")
    return {
        control.key.removeprefix("setting."): control
        for kind in kinds
        for control in app.get(kind)
        if str(control.key).startswith("setting.")
    }


def test_every_setting_has_a_control_with_its_help_and_its_bounds(open_app):
    described, found = settings_for(TASKS["cifar10"]), controls(open_app(task="cifar10", ranks="2,4"))
    for other in (open_app(), open_app(skew="shards")):
        found |= controls(other)
    assert found.keys() - {"profile"} == described.keys() - {"options"}
    for name, control in found.items():
        own = described[name if name != "profile" else "ranks"]
        assert own.help in control.help or own.name in sweep.SWEEPS, "the name above it has the help"
        if own.kinds <= {int, float} and name != "alpha":
            assert (control.proto.min, control.proto.max) == (own.least, own.greatest)


def test_the_sentence_about_a_link_goes_when_its_control_is_used(open_app):
    app = open_app(rounds="0")
    assert "rounds is 0" in said(app)
    setting(app, "number_input", "rounds").set_value(4).run()
    assert "rounds is 0" not in said(app)


def test_the_last_run_is_one_click_away(open_app, store):
    run_id = store_run(store, Experiment(method="fedit", rounds=2), done=2)
    app = open_app()
    app.button(key="last").click().run()
    assert address(app)["run"] == run_id
    assert setting(app, "selectbox", "method").value == "fedit"
    assert len(app.metric) == 5


def test_settings_that_differ_from_the_run_are_pointed_out(open_app, store):
    app = open_app(run=store_run(store, done=2))
    assert "settings have changed" not in said(app)
    setting(app, "number_input", "seed").set_value(9).run()
    assert "settings have changed" in said(app)


def test_a_stored_run_is_shown_with_numbers_and_sentences(open_app, store):
    run_id = store_run(store, done=4)
    app = open_app(run=run_id)
    labels = [metric.label for metric in app.metric]
    assert labels == ["Test accuracy", "Aggregation error", "Subspace alignment", "Client drift", "Upload"]
    assert app.metric[0].value == "60.0 %"
    assert len(app.get("bidi_component")) == 6
    assert "After round 4 the server's model gets 60.0 %" in said(app)


def test_the_round_slider_moves_every_chart(open_app, store):
    run_id = store_run(store, done=4)
    app = open_app(run=run_id)
    round_slider(app).set_value(2).run()
    assert app.metric[0].value == "43.4 %"
    assert "After round 2 " in said(app)
    assert "After round 4 " not in said(app)


def test_the_slider_follows_the_newest_round_until_it_is_moved(open_app, store):
    run_id = store_run(store, Experiment(rounds=9), done=2, status="running")
    app = open_app(run=run_id)
    assert round_slider(app).value == 2

    def one_more(index):
        store.save_round(run_id, make_round(index, DEFAULT.client_ranks, snapshot={}), "test")
        app.run()

    one_more(3)
    assert round_slider(app).value == 3
    round_slider(app).set_value(1).run()
    one_more(4)
    assert round_slider(app).value == 1
    round_slider(app).set_value(9).run()
    assert round_slider(app).value == 4


def test_the_slider_goes_on_following_when_a_browser_sends_along_the_round_that_it_showed_before(open_app, store):
    run_id = store_run(store, Experiment(rounds=9), done=2, status="running")
    app = open_app(run=run_id)
    for index in (3, 4):
        late = app._tree.get_widget_states()
        store.save_round(run_id, make_round(index, DEFAULT.client_ranks, snapshot={}), "test")
        app.run()
        app._run(late)
        assert round_slider(app).value == index


@pytest.mark.parametrize("section", ["Clients", "Server", "Cost"])
def test_every_section_draws(open_app, store, section):
    app = open_app(run=store_run(store, done=2))
    app.session_state["section"] = section
    app.run()
    assert not app.exception
    assert 2 <= len(app.get("bidi_component")) <= 4


def test_one_client_and_one_round_are_enough(open_app, store):
    app = open_app(run=store_run(store, Experiment(ranks=(4,), rounds=1), done=1))
    assert not app.exception
    assert len(app.metric) == 5


def test_pause_resume_step_and_stop_reach_the_run(open_app, store):
    run_id = store_run(store, Experiment(rounds=9), done=2, status="running")
    app = open_app(run=run_id)
    app.button(key="pause").click().run()
    assert store.run(run_id).wanted == "pause"
    app.button(key="step").click().run()
    assert store.run(run_id).wanted == "step"
    app.button(key="resume").click().run()
    assert store.run(run_id).wanted == "run"
    app.button(key="stop").click().run()
    assert store.run(run_id).wanted == "stop"
    assert not app.exception


def test_step_begins_a_run_that_pauses_after_one_round(open_app, store):
    app = open_app()
    app.button(key="step").click().run()
    assert newest(store).wanted == "step"


def test_a_crash_is_one_line_with_the_log_a_click_away(open_app, store):
    run_id = store_run(store, Experiment(rounds=9), done=2, status="failed", error="out of memory in round 3")
    store.log(run_id, "Traceback: everything")
    app = open_app(run=run_id)
    assert "out of memory in round 3" in app.error[0].value
    assert "Traceback: everything" in app.code[0].value
    assert app.metric[0].value == "43.4 %"


def test_a_damaged_round_is_one_line(open_app, store):
    run_id = store_run(store, done=3)
    store.round_file(run_id, 3).write_bytes(b"not a tensor file")
    app = open_app(run=run_id)
    assert "Round 3 of this run cannot be read" in app.warning[0].value


def test_a_run_that_does_not_exist_is_no_error(open_app):
    app = open_app(run="ilora-0000")
    assert not app.button(key="run").disabled
    assert "The run 'ilora-0000' cannot be shown: it is not stored here." in app.warning[0].value


def test_the_screen_says_by_how_much_official_moves_the_model(open_app, store):
    from ilora.lab.runs.leases import end

    experiment = Experiment(rounds=1, options={"mode": "official"})
    run_id = store.add(experiment, worker="test")
    store.save_facts(run_id, make_facts(experiment.client_ranks))
    store.save_round(run_id, make_round(1, experiment.client_ranks, moved_without_learning=0.54, snapshot={}), "test")
    end(store, run_id, "test", "finished")
    text = said(open_app(run=run_id))
    assert "moves the adapted weights by 54 %" in text
    assert "ILoRA" in text
    assert "official" in text


def test_what_is_downloaded_is_said_before_run_unless_the_files_are_there(open_app, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "data_folder", lambda: tmp_path / "empty")
    app = open_app()
    assert "downloaded first" not in said(app)
    setting(app, "selectbox", "task").select("cifar10").run()
    assert "CIFAR-10 is downloaded first: 170 MB" in said(app)
    (tmp_path / "cifar-10-batches-py").mkdir()
    (tmp_path / "cifar-10-batches-py" / "test_batch").touch()
    setting(app, "text_input", "data").set_value(str(tmp_path)).run()
    assert "downloaded first" not in said(app)


def test_the_page_says_that_the_twin_has_not_seen_what_it_is_tested_on(open_app):
    app = open_app()
    setting(app, "selectbox", "task").select("cifar100").run()
    assert "adapted to the other fifty, of which it has seen no image" in said(app)


def test_how_long_a_round_takes_is_said_once_a_run_has_told(open_app, store):
    assert "By earlier runs here" not in said(open_app())
    run = store_run(store, DEFAULT, done=1)
    seconds = store.run(run).seconds_per_round
    assert f"about {duration(seconds)} for a round" in said(open_app())


def test_a_download_is_followed_on_the_page(open_app, store):
    run = store.add(DEFAULT, worker="someone")
    store.log(run, "downloads CIFAR-10, 40% is here")
    assert "downloads CIFAR-10, 40% is here" in said_in_progress(open_app(run=run))
    store.log(run, "someone starts with round 1 of 15")
    assert "the first round is on its way" in said_in_progress(open_app(run=run))


def said_in_progress(app):
    return " ".join(bar.proto.text for bar in app.get("progress"))


def test_a_scenario_sets_every_control_and_says_what_to_watch(open_app, store):
    app = open_app()
    app.selectbox(key="scenario").set_value("few").run()
    assert "**Watch this.**" in app.info[0].value
    app.button(key="run").click().run()
    assert newest(store).experiment == SCENARIOS["few"].experiment
    assert newest(store).experiment.participation == 0.25


def test_a_client_can_be_left_out(open_app, store):
    app = open_app(clients="4")
    app.multiselect(key="setting.left_out").set_value([2]).run()
    app.button(key="run").click().run()
    assert newest(store).experiment.left_out == (2,)
    assert address(app)["left_out"] == "2"
    setting(app, "number_input", "clients").set_value(2).run()
    assert app.multiselect(key="setting.left_out").value == []


@pytest.mark.parametrize(
    ("before", "client", "after", "said"),
    [
        ([], 1, [1], []),
        ([1, 2], 1, [2], []),
        ([0, 2], 1, [0, 2], ["Client 2 stays: it is the last one that takes part."]),
        ([0], 7, [0], ["Client 8 is not among the 3 clients of the settings."]),
    ],
)
def test_a_click_on_a_client_leaves_it_out_or_takes_it_back(before, client, after, said):
    app = AppTest.from_function(click_on, args=(client,))
    app.session_state[experiment_form.CURRENT], app.session_state[experiment_form.LEFT_OUT] = Experiment(clients=3), before
    app.run()
    assert not app.exception
    assert app.session_state[experiment_form.LEFT_OUT] == after
    assert [toast.value for toast in app.toast] == said


def click_on(client):
    """What the page calls when a mouse clicks on a client in a chart."""
    from ilora.lab.dashboard.controls import leave_out

    leave_out.toggle(client)


def test_charts_of_clients_say_who_is_left_out_now_and_next(open_app, store):
    run = store_run(store, Experiment(clients=4, left_out=[1], rounds=3), done=3)
    app = open_app(run=run, left_out="1,2", clients="4")
    app.segmented_control(key="section").set_value("Clients").run()
    assert said(app).count("This run excludes client 2. The next run excludes clients 2 and 3.") == 4
    app.segmented_control(key="section").set_value("Overview").run()
    assert "excludes" not in said(app)


def test_a_pinned_run_stays_behind_the_next_one(open_app, store):
    first, second = store_run(store, done=3), store_run(store, Experiment(method="fedit", rounds=3), done=3)
    app = open_app(run=first)
    app.button(key="pin").click().run()
    assert address(app)["ghost"] == first
    app.query_params.update({"run": second})
    app.run()
    assert app.button(key="pin").label == "Pin"
    assert view_of(app).ghost.id == first
    again = open_app(run=second, ghost=first)
    assert view_of(again).ghost.id == first
    app.query_params.update({"run": first})
    app.run()
    app.button(key="pin").click().run()
    assert "ghost" not in app.query_params


def view_of(app):
    """What the charts of the page look at."""
    run, ghost = (data_access.find(app.session_state[key]) for key in ("playground.run", "playground.ghost"))
    assert run is not None
    record, facts = data_access.load_round(run, run.done), data_access.facts(run)
    assert record is not None
    assert facts is not None
    return View(run, data_access.history(run), record, facts, next(iter(record.layers)), ghost=ghost)


def test_the_ghost_is_a_grey_line_beside_the_runs_own(open_app, store):
    first, second = store_run(store, done=3), store_run(store, Experiment(method="fedit", rounds=3), done=3)
    app = open_app(run=second, ghost=first)
    figure = CHARTS["accuracy"].figure(view_of(app))
    assert [trace.name.startswith("pinned: ") for trace in figure.data] == [False, True]
    assert figure.data[1].line.color == GREY


def test_a_press_on_a_settings_name_opens_its_sweep(open_app, store):
    app = open_app(rounds="2")
    assert not [button for button in app.button if button.key == "pressed.run"]
    app.button(key="name.alpha").click().run()
    assert GLOSSARY["alpha"] in said(app)
    app.multiselect(key="pressed.values").set_value([0.1, 10.0]).run()
    app.button(key="pressed.run").click().run()
    assert not app.exception
    assert sorted(run.experiment.alpha for run in store.runs()) == [0.1, 10.0]
    assert form_field.PRESSED not in app.session_state


def test_a_sweep_that_was_open_when_the_page_was_left_is_closed_on_return(open_app):
    app = open_app()
    app.button(key="name.alpha").click().run()
    assert [button for button in app.button if button.key == "pressed.run"]
    for page in ("glossary", "playground"):
        app.switch_page(f"pages/{page}.py").run()
    assert not [button for button in app.button if button.key == "pressed.run"]


def test_a_swept_run_is_named_as_a_sentence_needs_it():
    assert list(sweep.variants(DEFAULT, "lr", [0.01])) == ["learning rate: 0.01"]
    assert list(sweep.variants(DEFAULT, "alpha", [0.1])) == ["Dirichlet α: 0.1"]
    assert sweep.SWEEPS["lr"].title == "Learning rate"


def test_only_what_can_be_swept_has_a_name_to_press(open_app):
    app = open_app(skew="quantity")
    assert {button.key for button in app.button if str(button.key).startswith("name.")} == {
        f"name.{name}" for name in sweep.SWEEPS
    }
    assert not [button for button in open_app("compare").button if str(button.key).startswith("name.")]


def test_nothing_is_swept_while_a_setting_is_wrong(open_app):
    app = open_app()
    app.selectbox(key="setting.profile").select("list").run()
    app.text_input(key="setting.ranks").set_value("2, zero").run()
    app.button(key="name.lr").click().run()
    assert [toast.value for toast in app.toast] == ["Fix the marked setting first."]
    assert form_field.PRESSED not in app.session_state


def test_a_click_on_a_setting_sweeps_it(open_app, store):
    app = open_app(clients="3", local_steps="1")
    app.pills(key="sweep.setting").set_value("alpha").run()
    app.multiselect(key="sweep.values").set_value([0.1, 10.0]).run()
    app.button(key="sweep.run").click().run()
    assert not app.exception
    runs = store.runs()
    assert {run.name: run.experiment.alpha for run in runs} == {"Dirichlet α: 0.1": 0.1, "Dirichlet α: 10.0": 10.0}
    assert len({run.group for run in runs}) == 1
    assert runs[0].experiment.replace(alpha=1) == runs[1].experiment.replace(alpha=1)


@pytest.mark.parametrize("setting", sweep.SWEEPS)
@pytest.mark.parametrize("experiment", [DEFAULT, Experiment(ranks=(2, 4)), SCENARIOS["paper"].experiment])
def test_every_value_that_a_sweep_offers_is_allowed(setting, experiment):
    values = sweep.values_of(setting, experiment)
    made = sweep.variants(experiment, setting, values)
    assert len(made) == len(values)
    if setting not in ("clients", "ranks") or isinstance(experiment.ranks, str):
        assert len(values) >= 2

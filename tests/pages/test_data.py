"""The page Data: who would hold what in every task, and real samples of every client, where the files are at hand."""

from dataclasses import replace

import pytest

from ilora import tasks
from ilora.experiment import Experiment
from ilora.lab.analysis.shown_samples import read
from ilora.lab.content import data_preview
from ilora.records import RunFacts
from ilora.tasks.cifar_files import CIFAR10, CIFAR100
from tests.factory import LAYERS, store_run
from tests.tasks import cifar_standin, glue_standin

CHART = "bidi_component"


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption, *app.info])


def sentences(app):
    return [element.value for element in app.text]


def pictures(app):
    return [image for element in app.get("image") for image in element.proto.imgs]


def data_of(app, task, folder=""):
    app.selectbox(key="data.task").select(task).run()
    if folder:
        app.text_input(key="data.folder").set_value(str(folder)).run()
    assert not app.exception, app.exception
    return app


def facts_of(experiment: Experiment) -> RunFacts:
    return replace(data_preview.facts_of(experiment, data_preview.dealt(experiment, read(experiment.task))), layers=LAYERS)


def test_the_partition_follows_alpha_at_once(open_app):
    app = open_app("data")
    even, uneven = 10.0, 0.03
    seen = []
    for alpha in (even, uneven):
        app.select_slider(key="data.alpha").set_value(alpha).run()
        text = said(app)
        seen.append(float(text.split("A client holds ")[1].split(" of ")[0]))
    assert seen[0] == 10
    assert seen[1] < 8
    assert len(app.get(CHART)) == 3


def test_every_client_shows_pictures_that_are_described_in_words(open_app):
    app = open_app("data")
    app.selectbox(key="data.skew").select("shards").run()
    shown = pictures(app)
    assert len(shown) == 8
    assert all(image.url.startswith("data:image/png;base64,") for image in shown)
    facts = facts_of(Experiment(skew="shards"))
    for k, image in enumerate(shown):
        assert image.alt.startswith(f"10 training pictures of client {k + 1} (rank ")
        named = {part.split(" (")[0] for part in image.alt.partition(": ")[2].split(", ")}
        held = {facts.classes[c] for c in facts.class_counts[k].nonzero()[0]}
        assert named <= held
    app.slider(key="data.clients").set_value(40).run()
    assert len(pictures(app)) == 12
    assert "samples of the first 12 clients" in said(app)


def test_sentences_of_toy_text_stand_under_their_labels_and_follow_the_seed(open_app):
    app = data_of(open_app("data"), "toy-text")
    first = sentences(app)
    held = data_preview.dealt(Experiment(task="toy-text"), read("toy-text"))
    own = {read("toy-text").said(sample, "")[0] for sample in held.shares[0]}
    assert len(first) == 24
    assert set(first[:3]) <= own
    assert "negative" in said(app)
    app.number_input(key="data.seed").set_value(7).run()
    assert sentences(app) != first
    app.number_input(key="data.seed").set_value(0).run()
    assert sentences(app) == first


def test_under_attribute_skew_a_client_writes_in_its_own_dialect(open_app):
    app = data_of(open_app("data"), "toy-text")
    app.selectbox(key="data.skew").select("attribute").run()
    assert "dialect: casual" in said(app)
    assert "200 samples each. Every client sees every class, in a style of its own" in said(app)
    casual = sentences(app)[3:6]
    assert all(text.endswith("!") for text in casual)
    data_of(app, "digits")
    assert app.selectbox(key="data.skew").value == "attribute"
    assert len(pictures(app)) == 8


def test_a_pair_shows_both_sentences_and_a_skew_that_the_task_lacks_is_not_offered(open_app, tmp_path):
    glue_standin.write(tmp_path, "rte")
    app = open_app("data")
    app.selectbox(key="data.skew").select("attribute").run()
    data_of(app, "rte", tmp_path)
    text = sentences(app)
    assert text[0].startswith('1. the "film number')
    assert text[1].startswith("2. film ")
    assert "no entailment" in said(app)
    assert app.selectbox(key="data.skew").value != "attribute"


def test_a_regression_is_previewed_by_bins_of_its_score(open_app, tmp_path):
    glue_standin.write(tmp_path, "stsb")
    app = data_of(open_app("data"), "stsb", tmp_path)
    assert "Classes here are bins" in said(app)
    assert "score 5.0 of 5" in said(app)


def test_the_backbone_decides_which_half_of_cifar_100_there_is(open_app, tmp_path):
    cifar_standin.write(tmp_path / "cifar-100-python", CIFAR100, classes=100, per_class=1)
    app = data_of(open_app("data"), "cifar100", tmp_path)
    assert "of 50 classes" in said(app)
    app.selectbox(key="data.backbone").select("google/vit-base-patch16-224").run()
    assert "of 100 classes" in said(app)
    assert len(pictures(app)) == 8


@pytest.mark.parametrize(("task", "file"), [("cifar10", "cifar-10-batches-py/test_batch"), ("sst2", "SST-2/train.tsv")])
def test_a_missing_folder_says_what_is_missing_and_what_to_do(open_app, tmp_path, monkeypatch, task, file):
    monkeypatch.setattr(tasks, "data_folder", lambda: tmp_path / "empty")
    app = data_of(open_app("data"), task)
    assert "name the folder that holds" in said(app)
    assert "which downloads them" in said(app)
    data_of(app, task, tmp_path)
    assert f"there is no {file.replace('_', chr(92) + '_').replace('-', '-')}" in said(app)
    assert not app.get(CHART)


def test_a_broken_file_is_named_in_one_sentence(open_app, tmp_path):
    glue_standin.write(tmp_path, "sst2")
    (tmp_path / "SST-2" / "train.tsv").write_text("sentence\tlabel\nfine\t7\n")
    app = data_of(open_app("data"), "sst2", tmp_path)
    assert "line 2: label '7' is not one of" in said(app)


def test_fewer_samples_than_clients_are_said(open_app, tmp_path):
    cifar_standin.write(tmp_path / "cifar-10-batches-py", CIFAR10, classes=5, per_class=1)
    app = data_of(open_app("data"), "cifar10", tmp_path)
    app.slider(key="data.clients").set_value(40).run()
    assert "clients is 40; allowed are at most 25" in said(app)


def test_a_runs_own_data_are_shown(open_app, store):
    e = Experiment(task="toy-text", ranks=(2, 4, 8), rounds=2, noisy_clients=1)
    run_id = store_run(store, e, done=2)
    store.save_facts(run_id, facts_of(e))
    app = open_app("data", run=run_id)
    assert app.segmented_control(key="data.source").value == "A run's data"
    assert app.selectbox(key="explorer.run").value == run_id
    assert len(app.get(CHART)) == 3
    assert len(sentences(app)) == 9
    assert "labels at random" in said(app)


def test_samples_that_are_not_a_runs_own_are_not_shown_as_its(open_app, store):
    run_id = store_run(store, Experiment(ranks=(2, 4, 8), rounds=2), done=2)
    app = open_app("data", run=run_id)
    assert "not those of this run" in said(app)
    assert not pictures(app)

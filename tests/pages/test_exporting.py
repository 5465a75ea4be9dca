"""Export: what is taken away from a run holds what the run holds."""

import io
import zipfile

import pandas as pd
import pytest

from ilora.experiment import Experiment
from ilora.lab.dashboard.charts import downloads
from ilora.lab.dashboard.charts.report import report
from ilora.lab.runs.store import StoreError
from tests.factory import store_run


def test_nothing_is_made_before_the_popover_is_opened(open_app, store):
    app = open_app("playground", run=store_run(store, done=2))
    assert not app.get("download_button")


def test_the_report_says_settings_numbers_and_sentences(open_app, store):
    open_app()
    run_id = store_run(store, Experiment(method="fedit", rounds=3, alpha=0.7), done=3)
    store.set_note(run_id, "mind <this>")
    page = report(store.run(run_id))
    for text in ("FedIT", "mind &lt;this&gt;", "0.7", "After round 3 the server&#x27;s model gets", "method=&#x27;fedit&#x27;"):
        assert text in page
    assert page.count("<figure") == 9
    assert 1_000_000 < len(page) < 8_000_000


def test_a_report_before_the_first_round_says_so(open_app, store):
    open_app()
    assert "No round of this run is finished." in report(store.run(store.add(Experiment())))


def test_parquet_and_zip_hold_the_run(open_app, store):
    open_app()
    run = store.run(store_run(store, done=3))
    table = pd.read_parquet(io.BytesIO(downloads.parquet(store.history(run.id).reset_index(drop=True))))
    assert list(table["accuracy"]) == list(store.history(run.id)["accuracy"])
    mixed = downloads.parquet(pd.DataFrame({"x": pd.Series([1, "a"], dtype=object)}))
    assert list(pd.read_parquet(io.BytesIO(mixed))["x"]) == ["1", "a"]
    assert "run.json" in zipfile.ZipFile(io.BytesIO(downloads.whole(run))).namelist()


def test_the_link_opens_the_same_settings(open_app, store):
    open_app()
    run = store.run(store_run(store, Experiment(method="flora", rounds=2, alpha=0.7), done=2))
    path, _, query = downloads.link_to(run).partition("?")
    assert path.endswith("/playground")
    assert "method=flora" in query
    assert "alpha=0.7" in query


def test_an_adapter_that_cannot_be_made_says_why(open_app, store):
    open_app()
    with pytest.raises((RuntimeError, StoreError), match="no finished round"):
        downloads.adapter(store.run(store.add(Experiment())))

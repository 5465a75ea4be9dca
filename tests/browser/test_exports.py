"""Every format of Export is downloaded in a real browser and opened."""

import io
import json
import re
import zipfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from playwright.sync_api import expect

from ilora.experiment import Experiment
from ilora.lab.runs.store import Store
from tests.conftest import IDLE
from tests.factory import store_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def stored(lab):
    return store_run(Store(lab.home), Experiment(method="fedit", ranks=[2, 4, 8], rounds=3), done=3)


def download(page, name):
    page.wait_for_selector(IDLE)  # a page that is still being drawn has no file to hand out yet
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).click()
    return Path(download.value.path()).read_bytes()


def test_a_chart_is_exported_as_picture_page_and_table(page, stored):
    tab = page(f"playground?run={stored}")
    chart = tab.locator(".st-key-block-chart-accuracy")
    chart.get_by_role("button", name=re.compile("Export")).click()
    assert download(tab, "PNG").startswith(b"\x89PNG")
    svg = download(tab, "SVG").decode()
    assert svg.startswith("<svg")
    assert "Round" in svg
    table = pd.read_csv(io.BytesIO(download(tab, "CSV")))
    assert list(table["x"]) == [1, 2, 3]
    assert pd.read_parquet(io.BytesIO(download(tab, "Parquet")))["y"].tolist() == table["y"].tolist()
    page_file = download(tab, "HTML").decode()
    other = tab.context.new_page()
    other.set_content(page_file)
    expect(other.locator(".js-plotly-plot .main-svg").first).to_be_visible()
    expect(other.get_by_text("After round 3 the server's model gets")).to_be_visible()


def test_a_run_is_exported_in_every_format(page, stored):
    tab = page(f"playground?run={stored}")
    tab.locator(".st-key-run-export").get_by_role("button", name=re.compile("Export")).click()
    assert "ilora.Experiment(" in download(tab, "Python script").decode()
    nbformat.validate(nbformat.reads(download(tab, "Notebook").decode(), as_version=4))
    assert json.loads(download(tab, "Experiment (JSON)"))["method"] == "fedit"
    assert len(pd.read_csv(io.BytesIO(download(tab, "Metrics (CSV)")))) == 3
    assert len(pd.read_parquet(io.BytesIO(download(tab, "Metrics (Parquet)")))) == 3
    assert "run.json" in zipfile.ZipFile(io.BytesIO(download(tab, "The whole run (zip)"))).namelist()
    report = download(tab, "Report (HTML)").decode()
    other = tab.context.new_page()
    other.set_content(report)
    expect(other.locator(".js-plotly-plot")).to_have_count(9)
    expect(other.get_by_role("heading", name="Settings")).to_be_visible()


def test_the_exported_link_opens_the_settings_in_a_second_browser(page, stored):
    tab = page(f"playground?run={stored}")
    tab.locator(".st-key-run-export").get_by_role("button", name=re.compile("Export")).click()
    link = tab.get_by_text(re.compile(r"^http://.*method=fedit")).inner_text()
    second = page(link.split("/", 3)[3])
    expect(second.get_by_role("combobox", name=re.compile("Method")).first).to_have_value("FedIT")
    expect(second.get_by_role("textbox", name="One rank per client")).to_have_value("2, 4, 8")

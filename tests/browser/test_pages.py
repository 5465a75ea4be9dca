"""Every page by its own address and by the menu, at both widths; comparing, reopening and deleting runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from ilora.lab.dashboard.navigation import MENU
from tests.conftest import IDLE, ROOT, end_processes, free_port, wait_until_healthy

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TITLES = {
    "": "What is federated LoRA?",
    "playground": "What happens if …?",
    "learn": "How does it work?",
    "teach": "How do I use it in a class?",
    "compare": "Which method does better?",
    "runs": "Everything that was run",
    "round": "What happens in one round?",
    "aggregation": "Why can't we just average A and B?",
    "subspaces": "Do the clients learn the same directions?",
    "drift": "How far do clients drift from the mean update?",
    "data": "Who holds what?",
    "collapse": "How many directions does the update use?",
    "uncertainty": "How sure is the model, and should it be?",
    "rewards": "Can a reward teach as well as a label?",
    "methods": "What does each method do?",
    "limits": "What can I not conclude from this?",
    "glossary": "What does this word mean?",
}
CHART = ".ilora-chart.js-plotly-plot"
SECONDS = 120_000


def press(page, name):
    page.get_by_role("button", name=re.compile(rf"^\s*{name}\b")).first.click()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", TITLES)
def test_every_page_opens_by_its_address_and_fits(page, path, width):
    tab = page(path, width)
    tab.get_by_role("heading", name=TITLES[path]).wait_for()
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_every_page_is_reached_by_the_menu(page):
    tab = page("")
    for section, pages in MENU.items():
        for file in pages:
            path = "" if file == "home" else file
            if section:
                tab.get_by_test_id("stTopNavSection").filter(has_text=section).click()
            tab.locator(f"[data-testid^=stTopNav][href$='/{path}']").click()
            expect(tab.get_by_role("heading", name=TITLES[path])).to_be_visible(timeout=SECONDS)


def test_the_first_visitor_of_a_fresh_server_may_enter_by_any_door(browser, tmp_path):
    """Streamlit takes a folder called pages/ for an app of the old kind until it is told otherwise (navigation.title)."""
    port = free_port()
    log = Path(tmp_path) / "app.log"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.headless", "true"]
    environment = {**os.environ, "ILORA_HOME": str(tmp_path)}
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server, log)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(f"http://127.0.0.1:{port}/methods")
        tab.get_by_role("heading", name=TITLES["methods"]).wait_for(timeout=60_000)
        expect(tab.get_by_role("link", name="Playground")).to_be_visible()
        expect(tab.get_by_role("link", name="app", exact=True)).to_have_count(0)
        tab.close()
    finally:
        end_processes(server.pid, tmp_path)


def test_methods_are_compared_then_reopened_and_deleted(page):
    tab = page("compare?rounds=2&local_steps=1")
    press(tab, "Run all")
    tab.get_by_text("All 4 runs are finished.").wait_for(timeout=SECONDS)
    expect(tab.locator(CHART)).to_have_count(8)
    expect(tab.get_by_text(re.compile("After round 2")).nth(2)).to_be_visible()
    tab.wait_for_selector(IDLE)  # a page that is still being drawn has no file to hand out yet
    with tab.expect_download() as download:
        press(tab, "Download all rounds as CSV")
    text = Path(download.value.path()).read_text()
    assert len(text.splitlines()) == 1 + 4 * 2

    tab.get_by_role("link", name="Runs").click()
    tab.get_by_role("heading", name=TITLES["runs"]).wait_for()
    tick_first_row(tab)
    press(tab, "Open")
    tab.get_by_role("heading", name=TITLES["playground"]).wait_for()
    tab.locator("[data-testid=stProgress]", has_text="all rounds are done").wait_for(timeout=SECONDS)
    opened = re.search(r"run=([\w-]+)", tab.url)
    assert opened

    tab.get_by_role("link", name="Runs").click()
    tab.get_by_role("heading", name=TITLES["runs"]).wait_for()
    tick_first_row(tab)
    press(tab, "Delete")
    tab.get_by_role("dialog").get_by_role("button", name="Delete 1 run").click()
    tab.get_by_text("Deleted 1.").wait_for()


def tick_first_row(page):
    """The table is drawn on a canvas: its check boxes are found by their place."""
    page.wait_for_timeout(800)
    box = page.get_by_test_id("stDataFrameResizable").bounding_box()
    page.mouse.click(box["x"] + 18, box["y"] + 52)
    page.wait_for_timeout(800)

"""What a person waits for: the first page, a change of page, and a control while a run trains, as a ratio to the same when idle.

`python -m benchmarks.app` starts the app on an empty home, drives it with Chromium and prints the tables of docs/benchmarks.md.
"""

import os
import platform
import re
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Page, ViewportSize, expect, sync_playwright

from ilora.lab.dashboard.charts.catalogue import CHARTS, SECTIONS
from ilora.lab.dashboard.navigation import MENU
from scripts.screenshots import CHART, FLAGS, IDLE, app

VISITS, PRESSES = 3, 24
WINDOW: ViewportSize = {"width": 1280, "height": 1000}
PATIENCE = 60_000.0  # milliseconds
BLOCKS = {section: CHARTS[SECTIONS[section][0]].title for section in ("Server", "Clients")}  # what each shows first


def seconds(action: Callable[..., None], *arguments: Any) -> float:
    """How long an action takes."""
    began = time.perf_counter()
    action(*arguments)
    return time.perf_counter() - began


def open_home(page: Page, url: str) -> None:
    """Open the first page and wait for its question."""
    page.goto(url)
    page.get_by_role("heading", name="What is federated LoRA?").wait_for(timeout=PATIENCE)


def page_changes(page: Page, visits: int) -> dict[str, float]:
    """Seconds from a press in the menu until the page's own question stands there, the median of all visits, by page."""
    pages = {file: (section, name) for section, found in MENU.items() for file, (name, *_) in found.items()}
    taken: dict[str, list[float]] = {name: [] for _, name in pages.values()}
    for _ in range(visits):
        for file, (section, name) in pages.items():
            if section:
                page.get_by_test_id("stTopNavSection").filter(has_text=section).click()
            link = page.locator(f"[data-testid^=stTopNav][href$='/{'' if file == 'home' else file}']")
            link.wait_for()
            taken[name].append(seconds(visit, page, link, question(page).inner_text()))
            page.wait_for_selector(IDLE)
            page.wait_for_timeout(500)
    return {name: statistics.median(each) for name, each in taken.items()}


def visit(page: Page, link: Any, before: str) -> None:
    """Press a link of the menu and wait for another question than before."""
    link.click()
    expect(question(page)).not_to_have_text(before, timeout=PATIENCE)


def question(page: Page) -> Any:
    """The question that a page answers."""
    return page.get_by_test_id("stMain").get_by_role("heading", level=1)


def answers(page: Page, presses: int) -> float:
    """Seconds from a press on another section of the Playground until its first block stands there, the median."""
    taken = []
    for turn in range(presses):
        section = list(BLOCKS)[turn % 2]
        taken.append(seconds(look_at, page, section))
        page.wait_for_timeout(700)
    return statistics.median(taken)


def look_at(page: Page, section: str) -> None:
    """Press a section and wait for its first block."""
    page.get_by_test_id("stMain").get_by_role("radio", name=section, exact=True).click()
    page.get_by_role("heading", name=re.compile(re.escape(BLOCKS[section]))).first.wait_for(timeout=PATIENCE)


def train(page: Page, url: str, rounds: int) -> None:
    """Start a run on the Playground and wait for its first charts."""
    page.goto(f"{url}/playground?rounds={rounds}")
    page.get_by_test_id("stMain").get_by_role("button", name=re.compile(r"^\s*Run\b")).first.click()
    page.get_by_test_id("stProgress").filter(has_text=re.compile(r"round [1-9]\d* of")).wait_for(timeout=PATIENCE)
    page.locator(CHART).nth(5).wait_for(timeout=PATIENCE)


def tables(page: Page, url: str, visits: int = VISITS, presses: int = PRESSES) -> Iterator[str]:
    """What is measured in the app at `url`, line by line: each page is visited so often, a control pressed so often."""
    yield f"First page of a server that has just come up: {seconds(open_home, page, url):.1f} s\n"
    train(page, url, rounds=3)
    page.get_by_text("all rounds are done").first.wait_for(timeout=PATIENCE)
    idle = answers(page, presses)
    yield "| to the page | seconds |\n|---|---|"
    for name, taken in page_changes(page, visits).items():
        yield f"| {name} | {taken:.2f} |"
    train(page, url, rounds=60)
    busy = answers(page, presses)
    yield f"\n| a control of the Playground answers | seconds |\n|---|---|\n| while nothing trains | {idle:.2f} |"
    yield f"| while a run trains | {busy:.2f} |\n\nRatio: {busy / idle:.2f}"


def main() -> None:
    """Print the tables."""
    print(f"{platform.machine()}, {os.cpu_count()} cores\n")
    with sync_playwright() as playwright, app() as url:
        browser = playwright.chromium.launch(executable_path=shutil.which(os.environ.get("CHROMIUM", "chromium")), args=FLAGS)
        for line in tables(browser.new_page(viewport=WINDOW), url):
            print(line, flush=True)
        browser.close()


if __name__ == "__main__":
    main()

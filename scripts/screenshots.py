"""Takes the pictures of the documents from the real app: `make screenshots` starts it, runs experiments and photographs every
page on a laptop and on a phone, in the light and in the dark.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "screenshots"
PORT = 8599
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking"]
WITH_CHARTS = ("", "round", "aggregation", "subspaces", "drift", "collapse", "data", "uncertainty")  # they show the newest run
PLAIN = ("learn", "learn?lesson=averaging-factors", "rewards", "methods", "limits", "teach", "glossary", "runs")
NAMES = {"": "home", "learn?lesson=averaging-factors": "lesson"}  # of pages whose address is no name
CHART = ".ilora-chart.js-plotly-plot"
WIDE, NARROW = {"width": 1280, "height": 1000}, {"width": 390, "height": 844}
LOOKS: dict[str, dict[str, Any]] = {
    "": {"viewport": WIDE},
    "-dark": {"viewport": WIDE, "color_scheme": "dark"},
    "-narrow": {"viewport": NARROW},
    "-narrow-dark": {"viewport": NARROW, "color_scheme": "dark"},
}


@contextmanager
def app() -> Iterator[str]:
    """The app on an empty home, until the block ends."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(PORT), "--server.headless", "true"]
        server = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "ILORA_HOME": home}, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{PORT}"
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        try:
            yield url
        finally:
            server.terminate()
            server.wait()


def take(page: Page, name: str, chart: bool = False) -> None:
    """One picture, once the page has settled and, where there is one, its first chart is drawn."""
    page.wait_for_selector(IDLE)
    if chart:
        page.locator(CHART).first.wait_for()
    page.wait_for_timeout(1_500)
    page.screenshot(path=PICTURES / f"{name}.png")


def open_page(browser: Any, url: str, **options: Any) -> Page:
    """A page that has finished loading."""
    page: Page = browser.new_page(**options)
    page.goto(url)
    page.wait_for_selector(IDLE, timeout=60_000)
    return page


def take_all(browser: Any, url: str, name: str, chart: bool = False) -> None:
    """One picture of a page in every look."""
    for look, options in LOOKS.items():
        page = open_page(browser, url, **options)
        take(page, name + look, chart)
        page.close()


def main() -> None:
    """Run the default experiment and a comparison, and photograph what they show."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with app() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = open_page(browser, f"{url}/playground", viewport=WIDE)
        page.get_by_role("button", name="Run").first.click()
        page.get_by_text("all rounds are done").wait_for(timeout=300_000)
        take_all(browser, page.url, "playground", chart=True)
        for inside in WITH_CHARTS:
            take_all(browser, f"{url}/{inside}", NAMES.get(inside, inside), chart=True)
        page.goto(f"{url}/compare?rounds=8")
        page.get_by_role("button", name="Run all").click()
        stop = page.get_by_role("button", name="Stop all")
        stop.wait_for()
        stop.wait_for(state="hidden", timeout=300_000)
        take_all(browser, page.url, "compare", chart=True)
        for plain in PLAIN:
            take_all(browser, f"{url}/{plain}", NAMES.get(plain, plain))
        browser.close()


if __name__ == "__main__":
    main()

"""Fixtures for all tests: a home of their own, and the real app in a real browser for those marked `browser`."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
CPUS_PER_WORKER = max(1, (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
os.environ.setdefault("OMP_NUM_THREADS", str(CPUS_PER_WORKER))  # before torch is imported: workers must not fight for the cores
os.environ["HF_HUB_OFFLINE"] = "1"  # the tests need no network, and show it
os.environ["TOKENIZERS_PARALLELISM"] = "false"

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
CHROMIUM_ARGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
HEIGHTS = {1280: 900, 390: 844}  # a laptop, a phone
GUESSES = re.compile(
    r"^https?://[^/]+/.+/_stcore/(health|host-config)$"
)  # Streamlit looks beside a page's path first: 404 is its answer
EXCEPTION = "[data-testid=stException]"
IDLE = "[data-testid=stApp][data-test-script-state=notRunning]"


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs that tests write never land among the user's own, and no test meets what the user has downloaded."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ILORA_HOME", str(home))
        patch.setenv("ILORA_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield home


def cannot_run(reason: str) -> NoReturn:
    """Skip where a person may lack a browser, fail where a machine must have one."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium that browser tests drive; the environment variable CHROMIUM names another one."""
    wanted = os.environ.get("CHROMIUM")
    for name in (wanted,) if wanted else CHROMIUM_NAMES:
        if path := shutil.which(name):
            return path
    cannot_run(f"no browser ({wanted or 'Chromium'} not found); install it with: sudo apt install chromium")


# One browser per module, not per session: while Playwright's sync API is up, its event loop counts as running,
# and asyncio.run() fails in every other test of the process.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import Error, sync_playwright

    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=CHROMIUM_ARGS)
        except Error as error:
            cannot_run(f"{chromium} does not start: {error.message.splitlines()[0]}")
        yield browser
        browser.close()


@dataclass(frozen=True)
class Lab:
    """The running app."""

    url: str
    home: Path


@pytest.fixture(scope="module")  # so that what a test meets does not depend on which files ran before
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Start the app as a user does, with an empty home, and leave no process behind."""
    home, log = tmp_path_factory.mktemp("lab"), tmp_path_factory.mktemp("log") / "lab.log"
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port), "--server.headless", "true"]
    with log.open("w") as output:
        environment = {**os.environ, "ILORA_HOME": str(home)}
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_healthy(url, server, log)
        yield Lab(url, home)
    finally:
        end_processes(server.pid, home)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until_healthy(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the app did not start within {seconds:.0f} s:\n{log.read_text()[-2000:]}", pytrace=False)


def end_processes(server: int, home: Path) -> None:
    """End the server, its children, and workers that outlived their parent: all of them carry the lab's home."""

    def is_ours(process: psutil.Process) -> bool:
        try:
            return process.pid == server or process.environ().get("ILORA_HOME") == str(home)
        except psutil.Error:
            return False

    ours = {process for process in psutil.process_iter() if is_ours(process)}
    for process in list(ours):
        try:
            ours.update(process.children(recursive=True))
        except psutil.Error:
            continue
    for process in ours:
        try:
            process.terminate()
        except psutil.Error:
            continue
    for process in psutil.wait_procs(ours, timeout=5)[1]:
        try:
            process.kill()
        except psutil.Error:
            continue
    psutil.wait_procs(ours, timeout=5)


@pytest.fixture
def page(lab: Lab, browser: Any) -> Iterator[Callable[..., Any]]:
    """Open pages of the lab: `page("compare", width=390)`. The test fails if the console or the app reported an error."""
    contexts: list[Any] = []
    errors: list[str] = []

    def open_page(path: str = "", width: int = 1280) -> Any:
        context = browser.new_context(viewport={"width": width, "height": HEIGHTS.get(width, 900)}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(describe(message)) if is_error(message) else None)
        page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
        page.goto(f"{lab.url}/{path.lstrip('/')}")
        page.wait_for_selector(IDLE, timeout=60_000)
        return page

    yield open_page
    for context in contexts:
        errors += [f"the app raised: {text}" for page in context.pages for text in page.locator(EXCEPTION).all_inner_texts()]
        context.close()
    if errors:
        pytest.fail("the browser showed errors:\n" + "\n".join(errors), pytrace=False)


def is_error(message: Any) -> bool:
    return message.type == "error" and not GUESSES.match(message.location.get("url", ""))


def describe(message: Any) -> str:
    return f"{message.text} ({message.location.get('url', '')})"

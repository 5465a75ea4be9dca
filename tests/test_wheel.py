"""The wheel carries everything: built, installed elsewhere, and used from an empty folder out of reach of the checkout."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT, end_processes, free_port, wait_until_healthy

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
PAGE = """
from streamlit.testing.v1 import AppTest
from ilora.tasks.places import shipped
app = AppTest.from_file(str(shipped("app.py")), default_timeout=60).run()
assert not app.exception, app.exception
app.switch_page("pages/methods.py").run()
assert not app.exception, app.exception
print(app.title[0].value)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own."""
    wheels, place = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    build = ["wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--no-cache-dir", "--wheel-dir", str(wheels)]
    subprocess.run([*PIP, *build], check=True, capture_output=True, timeout=120)
    (wheel,) = wheels.glob("*.whl")
    into = ["install", str(wheel), "--no-deps", "--no-index", "--target", str(place)]
    subprocess.run([*PIP, *into], check=True, capture_output=True, timeout=120)
    return place


@pytest.fixture
def away(installed: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has the wheel alone."""
    folders = {"ILORA_HOME": tmp_path / "runs", "ILORA_CACHE": tmp_path / "cache", "HOME": tmp_path / "home"}
    named = {name: str(folder) for name, folder in folders.items()}
    return {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", **named}


@pytest.fixture
def python(installed: Path, away: dict[str, str], tmp_path: Path) -> Callable[..., str]:
    """Run Python from an empty folder; returns what it prints."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=empty, env=away, capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr[-2_000:]
        return done.stdout

    assert run("-c", "import ilora; print(ilora.__file__)").strip() == str(installed / "ilora" / "__init__.py")
    return run


def test_the_wheel_holds_the_repositorys_doors_and_assets_and_no_download(installed):
    tracked = subprocess.run(
        ["git", "ls-files", "app.py", "pages", "data", ".streamlit", "docs/read-the-algorithm.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    shipped = installed / "ilora" / "shipped"
    carried = {path.relative_to(shipped).as_posix() for path in shipped.rglob("*") if path.is_file()}
    assert {name for name in carried if not name.endswith(".pyc")} == set(tracked.stdout.split())


def test_the_wheel_holds_every_file_of_the_package(installed):
    tracked = subprocess.run(["git", "ls-files", "ilora"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in tracked.stdout.split() if not (installed / name).is_file()] == []


def test_what_is_installed_says_what_it_is_and_what_it_needs(installed):
    (folder,) = installed.glob("ilora-*.dist-info")
    metadata = (folder / "METADATA").read_text(encoding="utf-8")
    for line in ("License-Expression: Apache-2.0", "Provides-Extra: app", "Provides-Extra: data", "# ILoRA Lab"):
        assert f"\n{line}\n" in metadata
    needed = re.findall(r"(?m)^Requires-Dist: (.*)$", metadata)
    assert [line for line in needed if ">=" not in line and "extra ==" not in line] == []
    assert (installed / "bin" / "ilora").is_file()


@pytest.mark.slow
def test_the_readmes_python_runs_and_its_adapter_is_one_for_peft(python):
    first, *_ = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert "rounds=5" in first
    short = "rounds=1, local_steps=2, options={'correction': 'none'}"  # which takes a tenth of the time
    look = "from pathlib import Path; assert Path('my-adapter/adapter_config.json').is_file()"
    assert "accuracy" in python("-c", f"{first.replace('rounds=5', short)}\n{look}")


@pytest.mark.slow
def test_the_command_line_trains_and_exports(python, away):
    python("-m", "ilora", "run", "--method", "fedit", "--ranks", "2,4", "--rounds", "1", "--local-steps", "2")
    (run,) = json.loads(python("-m", "ilora", "runs", "--json"))
    assert run["status"] == "finished"
    python("-m", "ilora", "adapter", run["id"], str(Path(away["ILORA_HOME"]) / "exported"))
    assert (Path(away["ILORA_HOME"]) / "exported" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_pages_open(python):
    assert "?" in python("-c", PAGE)


@pytest.mark.slow
def test_the_app_is_served_with_its_own_settings(away, tmp_path):
    port, log = free_port(), tmp_path / "app.log"
    command = [sys.executable, "-m", "ilora", "app", "--port", str(port), "--headless"]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=tmp_path, env=away, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}", server, log)
        assert f"URL: http://127.0.0.1:{port}" in log.read_text()  # .streamlit/config.toml: this machine only
    finally:
        end_processes(server.pid, Path(away["ILORA_HOME"]))

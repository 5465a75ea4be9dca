"""`ilora app` hands over to Streamlit, and says what to install where there is none."""

import importlib.util
import runpy
import sys

import pytest

from ilora.lab.cli import main
from ilora.tasks.places import shipped


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines with which Streamlit would have been started."""
    commands: list[list[str]] = []
    monkeypatch.setattr(sys, "argv", ["ilora"])
    monkeypatch.setattr(runpy, "run_module", lambda name, **_: commands.append([name, *sys.argv[1:]]))
    return commands


def test_the_app_is_started_where_it_lies(started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["app"]) == 0
    assert started == [["streamlit", "run", str(shipped("app.py"))]]
    assert shipped("app.py").is_absolute()


def test_port_address_and_headless_are_streamlits(started):
    assert main(["app", "--port", "8600", "--address", "0.0.0.0", "--headless"]) == 0
    assert started[0][3:] == ["--server.port", "8600", "--server.address", "0.0.0.0", "--server.headless", "true"]


def test_without_streamlit_one_sentence_says_what_to_install(started, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["app"]) == 2
    assert capsys.readouterr().err == "python -m ilora app: streamlit is not installed; `pip install 'ilora[app]'` brings it.\n"
    assert started == []

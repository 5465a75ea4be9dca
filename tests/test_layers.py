"""Who may import whom: the contracts in pyproject.toml hold, and each of them notices an import that it forbids."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

VIOLATIONS = {  # contract -> a file and the line in it that would break the contract
    "The science stands in storeys, the laboratory on top": ("lora/factors.py", "from ilora.stages import aggregate"),
    "The laboratory stands in storeys, what a user sees on top": ("lab/runs/store.py", "from ilora.lab.captions import rounds"),
    "The dashboard stands in storeys": ("lab/dashboard/url.py", "from ilora.lab.dashboard.charts import block"),
    "The science does not know the laboratory": ("__init__.py", "def later(): from ilora.lab import figures"),
    "Only the dashboard imports streamlit": ("lab/figures/frame.py", "import streamlit"),
    "Only figures and the dashboard import plotly": ("diagnostics.py", "import plotly.graph_objects"),
    "What the app shows before anything is computed imports no torch": ("lab/runs/store.py", "from torch import Tensor"),
    "Figures and captions do not know where runs are stored": ("lab/captions/rounds.py", "from ilora.lab.runs import store"),
    "The server and a client's round do not know each other": (
        "simulation/server.py",
        "from ilora.simulation import client_round",
    ),
    "One stage's ingredients do not know another's": (
        "methods/ingredients/upload.py",
        "if TYPE_CHECKING: from ilora.methods.ingredients import server",
    ),
    "One page's view does not know another's": ("lab/dashboard/views/runs.py", "from ilora.lab.dashboard.views import learn"),
}
ABOVE_THE_PAGES = ("ilora.lab.runs", "ilora.simulation", "ilora.training", "ilora.stages")  # what pages leave to the dashboard


def contracts() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]


def verdicts(folder: Path) -> dict[str, str]:
    """What import-linter says of each contract for the package in a folder: KEPT or BROKEN."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as lint; lint()",
        "--no-logo",
        "--no-cache",
    ]
    environment = {**os.environ, "COLUMNS": "200"}  # one contract, one line
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    said = {
        name: verdict
        for name in contracts()
        for verdict in ("KEPT", "BROKEN")
        for line in lines
        if line.startswith(f"{name} {verdict}")
    }
    assert said.keys() == set(contracts()), done.stdout + done.stderr
    return said


def imports(source: str) -> set[str]:
    """Every module that a source file imports, wherever in the file; of `from a import b` both a and a.b, which may be one."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.module
            found |= {node.module} | {f"{node.module}.{name.name}" for name in node.names}
    return found


def within(modules: set[str], packages: tuple[str, ...]) -> set[str]:
    return {module for module in modules if any(f"{module}.".startswith(f"{package}.") for package in packages)}


def paths(*patterns: str) -> list[str]:
    """Paths of the files that match, counted from the repository's root."""
    return [str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def test_every_contract_holds():
    assert set(verdicts(ROOT).values()) == {"KEPT"}


def test_every_contract_notices_an_import_that_it_forbids(tmp_path):
    assert VIOLATIONS.keys() == set(contracts())
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "ilora", tmp_path / "ilora", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "ilora/simulation/client_round.py").touch()
    for name, line in VIOLATIONS.values():
        with (tmp_path / "ilora" / name).open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")
    assert set(verdicts(tmp_path).values()) == {"BROKEN"}


def test_a_new_file_has_to_find_its_place_first(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "ilora", tmp_path / "ilora", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "ilora/lab/odds_and_ends.py").touch()
    assert verdicts(tmp_path)["The laboratory stands in storeys, what a user sees on top"] == "BROKEN"


@pytest.mark.parametrize(
    "source",
    [
        "import ilora.lab.runs.pool as queue",
        "from ilora.lab import runs",
        "from ilora.lab.runs.store import Store",
        "def later():\n    import ilora.lab.runs",
        "if TYPE_CHECKING:\n    from ilora.lab import runs",
    ],
)
def test_an_import_is_found_in_whatever_form(source):
    assert within(imports(source), ("ilora.lab.runs",))
    assert not within(imports(source), ("ilora.lab.run", "ilora.lab.runs.worker"))


@pytest.mark.parametrize("path", paths("app.py", "pages/*.py"))
def test_a_page_starts_and_computes_nothing_itself(path):
    assert within(imports((ROOT / path).read_text(encoding="utf-8")), ABOVE_THE_PAGES) == set()


@pytest.mark.parametrize("path", paths("tests/**/test_*.py"))
def test_no_test_file_imports_another(path):
    """What several need stands in a module of its own, such as laws.py, so that a file can be moved, run and read alone."""
    modules = within(imports((ROOT / path).read_text(encoding="utf-8")), ("tests",))
    assert {module for module in modules if any(part.startswith("test_") for part in module.split("."))} == set()

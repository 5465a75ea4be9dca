"""What the documents tell a reader to type works as it stands there."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import grimp
import pytest

import ilora

ROOT = Path(__file__).parent.parent
_spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "scripts" / "draw_architecture.py")
assert _spec
assert _spec.loader
draw = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(draw)


def blocks(document: str, language: str) -> list[str]:
    """The code blocks of a document in one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.DOTALL)


def run_python(code: str, folder: Path, **variables: str) -> str:
    """Run code as a reader would, in `folder`, and return what it printed."""
    path = os.pathsep.join([str(ROOT), str(folder)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_a_method_is_added_as_the_document_says(tmp_path):
    rule, without_model, with_model, *_ = blocks("docs/add-a-method.md", "python")
    (tmp_path / "owners.py").write_text(rule, encoding="utf-8")
    error = float(run_python(f"import ilora, owners\n{without_model}", tmp_path))
    assert 0 < error < 10
    table = run_python(f"import ilora\n{with_model.replace('rounds=3', 'rounds=1, local_steps=1')}", tmp_path)
    assert "aggregation_error" in table


def test_a_plug_in_stands_in_the_list_of_methods_and_its_options_are_settings(tmp_path):
    rule, _, _, traits, refusal, *_ = blocks("docs/add-a-method.md", "python")
    plug_in = tmp_path / "owners.py"
    plug_in.write_text(rule, encoding="utf-8")
    listed = run_python("from ilora.lab.cli import main; main(['methods'])", tmp_path, ILORA_PLUGINS=str(plug_in))
    assert "Owners' mean" in listed
    table = "from ilora.lab.cli import main; main(['methods'])"
    rows = {row.split()[0]: row for row in run_python(f"{traits}\n{table}", tmp_path).splitlines()}
    assert "not declared" in rows["owners"]
    assert "not declared" not in rows["owners-declared"]
    asked = "print(ilora.Experiment(method='owners-declared', options={'floor': 0.5}).recipe.options)"
    assert "'floor': 0.5" in run_python(f"{traits}\n{asked}", tmp_path)
    asked = "try: ilora.Experiment(method='owners', options={'upload': 'rotate'})\nexcept ValueError as error: print(error)"
    assert "a rotated slot has no owner" in run_python(f"import ilora, owners\n{refusal}\n{asked}", tmp_path)


def test_a_stage_with_two_halves_is_added_as_the_document_says(tmp_path):
    (stage,) = (block for block in blocks("docs/add-a-method.md", "python") if block.startswith("# harder.py"))
    (tmp_path / "harder.py").write_text(stage, encoding="utf-8")
    asked = "import ilora, harder\nresult = ilora.run(ilora.Experiment(method='harder', ranks=[2, 4], rounds=2, local_steps=1))"
    shown = "print(result.rounds[-1].clients['visits'].tolist(), result.rounds[-1].floats_up - result.rounds[-1].floats_down)"
    visits, more = run_python(f"{asked}\n{shown}", tmp_path).rsplit(maxsplit=1)
    assert (visits, more) == ("[2.0, 2.0]", "2")  # one number of each client, beside the model


@pytest.mark.parametrize("path", ["missing.py", "broken.py"])
def test_a_plug_in_that_cannot_be_run_is_named(path, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0", encoding="utf-8")
    with pytest.raises(AssertionError, match=rf"ValueError: ILORA_PLUGINS names .*{path}.* cannot be run"):
        run_python("import ilora", tmp_path, ILORA_PLUGINS=str(tmp_path / path))


def test_the_readmes_examples_run(tmp_path):
    whole_run, one_rule = blocks("README.md", "python")
    printed = run_python(whole_run.replace("rounds=5", "rounds=1, local_steps=1"), tmp_path)
    assert "accuracy" in printed
    assert (tmp_path / "my-adapter" / "adapter_model.safetensors").exists()
    assert run_python(f"import ilora\n{one_rule}", tmp_path).split()[::2] == ["fedit", "flora", "flexlora", "ilora"]


def test_every_link_in_the_documents_leads_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def rows(heading: str) -> list[list[str]]:
    """The names in the first column of the table under a heading of docs/architecture.md, row by row."""
    section = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").split(f"{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table
    return [re.findall(r"`([\w./]+)`", line.split("|")[1]) for line in table[0].splitlines()[2:]]


@pytest.mark.parametrize(
    ("package", "heading"),
    [
        ("ilora", "## The science: `ilora/`"),
        ("ilora.lab", "## The laboratory: `ilora/lab/`"),
        ("ilora.lab.dashboard", "Within `dashboard`:"),
    ],
)
def test_the_architecture_names_every_folder_in_its_layer(package, heading):
    """The same rows as in the contract, which names every file and folder, whether there or to come."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("containers") == [package])
    assert rows(heading) == [re.findall(r"\w+", layer) for layer in layers if not layer.startswith("(")]


def test_the_architecture_names_every_folder_beside_the_package():
    named = {name.rstrip("/") for row in rows("## Beside the package") for name in row}
    ignored = [line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()]
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    folders -= {name for name in folders for pattern in ignored if fnmatch(name, pattern)}
    assert folders - {"ilora", "docs"} == named - {"app.py"}


def test_the_picture_of_the_architecture_is_the_code():
    assert (ROOT / "docs/architecture.svg").read_text(encoding="utf-8") == draw.picture(), (
        "run: python scripts/draw_architecture.py"
    )


def test_a_box_of_the_picture_leads_to_what_it_imports_and_to_nothing_that_follows(tmp_path, monkeypatch):
    for name, source in {"a": "from small import b, c", "b": "import small.c, torch", "c": ""}.items():
        folder = tmp_path / "small" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("", encoding="utf-8")
        (folder / "deep.py").write_text(source, encoding="utf-8")
    (tmp_path / "small/__init__.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    graph = grimp.build_graph("small", include_external_packages=True, cache_dir=None)
    assert draw.imports_of(graph, ["small.a", "small.b", "small.c"]) == {
        "small.a": ["small.b"],
        "small.b": ["small.c"],
        "small.c": [],
    }
    assert [draw.heavy_of(graph, f"small.{name}") for name in "abc"] == ["", "torch", ""]


DOCUMENTS = ("*.md", "docs/*.md", "data/*.md", "notebooks/*.ipynb", "scripts/*", "benchmarks/*.py", "tools/**/*.py")
A_PATH = r"(?<!@[0-9a-f]{7}:)(?<![\w./-])(?:ilora|tools|scripts)(?:/\w+(?:\.\w+)?)+"  # not one of a repository at a commit
A_MODULE = r"(?<![\w./-])ilora(?:\.[a-z_]\w*)+"


def mentions() -> set[tuple[str, str]]:
    """Every path of the package that a document or a docstring names, and every module that a document names, with who does."""
    found = set()
    for pattern, name in [*((pattern, f"{A_PATH}|{A_MODULE}") for pattern in DOCUMENTS), ("ilora/**/*.py", A_PATH)]:
        for path in ROOT.glob(pattern):
            found |= {(str(path.relative_to(ROOT)), each) for each in re.findall(name, path.read_text(encoding="utf-8"))}
    return found


def exists(name: str) -> bool:
    """Whether a path is there, or a module, or a module with a name in it: `ilora.lab.figures`, `ilora.run`."""
    if "/" in name:
        return (ROOT / name).exists()
    whole, above = (ROOT / part.replace(".", "/") for part in (name, name.rpartition(".")[0]))
    sources = [path for path in (above.with_suffix(".py"), above / "__init__.py") if path.exists()]
    named = any(re.search(rf"\b{name.rpartition('.')[2]}\b", path.read_text(encoding="utf-8")) for path in sources)
    return whole.is_dir() or whole.with_suffix(".py").exists() or named


def test_every_file_and_module_that_is_named_somewhere_exists():
    assert {(who, name) for who, name in mentions() if not exists(name)} == set()
    assert exists("ilora.run")
    assert exists("ilora/lab/runs/store.py")
    assert not exists("ilora.store")
    assert not exists("ilora.lab.runs.jobs")
    assert not exists("ilora/simulation.py")


def test_the_version_is_the_same_wherever_it_stands():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (cited,) = re.findall(r"(?m)^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest, *_ = re.findall(r"(?m)^## (\d[\d.]*),", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert ilora.__version__ == project["version"] == cited == newest

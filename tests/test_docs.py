"""What the documents tell a reader to type works as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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
    rule, *_, refusal, option = blocks("docs/add-a-method.md", "python")
    plug_in = tmp_path / "owners.py"
    plug_in.write_text(rule, encoding="utf-8")
    listed = run_python("from ilora.lab.cli import main; main(['methods'])", tmp_path, ILORA_PLUGINS=str(plug_in))
    assert "Owners' mean" in listed
    run_python(f"from owners import owners_mean\n{option}", tmp_path)
    asked = "try: ilora.Experiment(method='owners', options={'upload': 'rotate'})\nexcept ValueError as error: print(error)"
    assert "a rotated slot has no owner" in run_python(f"import ilora, owners\n{refusal}\n{asked}", tmp_path)


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


def test_the_architecture_names_every_file_of_the_package_and_no_other():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    files = {path.name for path in (ROOT / "ilora").glob("*.py")} - {"__init__.py", "__main__.py"}
    listed = text.split("```")[1]
    assert files - set(re.findall(r"\w+\.py", listed)) == set()
    everywhere = {path.name for folder in ("ilora", "pages", "scripts") for path in (ROOT / folder).rglob("*.py")} | {"app.py"}
    assert set(re.findall(r"\w+\.py", listed)) - everywhere == set()

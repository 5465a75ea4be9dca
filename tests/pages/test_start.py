"""The app starts light: no page imports torch unless it computes, and every page belongs to the menu."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMPUTES = {"aggregation.py", "round.py"}  # these two try aggregation rules, in the app's own process
PAGES = sorted({path.name for path in (ROOT / "pages").glob("*.py")} - COMPUTES)

VISIT = """
import sys
from unittest.mock import patch
from streamlit.testing.v1 import AppTest
with patch("ilora.lab.runs.pool.tend", return_value=""):
    app = AppTest.from_file("app.py", default_timeout=60).run()
    for page in sys.argv[1:]:
        app.switch_page(f"pages/{page}").run()
        assert not app.exception, (page, app.exception)
print(sorted({"torch", "transformers", "peft", "sklearn"} & set(sys.modules)))
"""


def test_no_page_that_only_looks_imports_torch(tmp_path):
    environment = {**os.environ, "ILORA_HOME": str(tmp_path)}
    command = [sys.executable, "-c", VISIT, *PAGES]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_dashboard_leaves_the_library_alone():
    modules = "ilora.lab.captions.rounds, ilora.lab.runs.store, ilora.lab.runs.pool"
    code = f"import sys, ilora, {modules}; print({{'streamlit', 'plotly'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr


def test_this_streamlit_brings_the_plotly_that_changes_charts_in_place():
    """If this fails after an update of Streamlit, charts flicker: see chart.py."""
    from ilora.lab.dashboard.charts.plotly_chart import plotly_file

    assert plotly_file().endswith(".js")

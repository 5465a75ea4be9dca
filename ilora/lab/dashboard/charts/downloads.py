"""Export: everything that can be taken away from a chart and from a run, made at the click and never before."""

import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from ilora.lab import figures
from ilora.lab.content import reproduce
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.charts.report import report
from ilora.lab.runs import archive
from ilora.lab.runs.store import Run
from ilora.tasks.places import environment_for_python

_IMAGES = """<div class="ilora-download">
<button type="button" value="png">PNG</button><button type="button" value="svg">SVG</button></div>"""
_STYLE = """.ilora-download { display: flex; gap: .5rem; }
.ilora-download button { flex: 1; padding: .4rem .75rem; font: inherit; color: var(--st-text-color); cursor: pointer;
  background: var(--st-background-color); border: 1px solid var(--st-border-color); border-radius: var(--st-base-radius); }
.ilora-download button:hover { border-color: var(--st-primary-color); }
.ilora-download button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }"""
_images = st.components.v2.component(
    "ilora_download", html=_IMAGES, css=_STYLE, js=Path(__file__).with_name("download.js").read_text(), isolate_styles=False
)
ADAPTER_SECONDS = 300


def chart_export(key: str, title: str, figure: go.Figure, sentence: str) -> None:
    """A popover that saves one chart as a picture or a page, and its numbers as a table."""
    menu = st.popover("Export", type="tertiary", icon=":material/download:", key=f"export.{key}", on_change="rerun")
    if not menu.open:
        return
    with menu:
        _images(key=f"images.{key}", data={"name": key})
        _save("HTML", lambda: figures.as_html(figure, title, sentence), f"{key}.html", "text/html")
        _save("CSV", lambda: figures.as_table(figure).to_csv(index=False), f"{key}.csv", "text/csv")
        _save("Parquet", lambda: parquet(figures.as_table(figure)), f"{key}.parquet", "application/vnd.apache.parquet")


def run_export(run: Run, place: str) -> None:
    """Everything of a run that can be taken away; `place` keeps the keys of two such lists apart."""
    history, facts = data_access.history(run), data_access.facts(run)
    st.caption("As a link: opens these settings in any browser that reaches this server.")
    st.code(link_to(run), language=None, wrap_lines=True)
    st.caption("To run again, to the same numbers")
    with st.container(horizontal=True, gap="small"):
        script = lambda: reproduce.as_script(run.experiment, history, facts, run.name)  # noqa: E731
        book = lambda: reproduce.as_notebook(run.experiment, history, facts, run.name)  # noqa: E731
        _save("Python script", script, f"{run.id}.py", "text/x-python", place)
        _save("Notebook", book, f"{run.id}.ipynb", "application/x-ipynb+json", place)
        _save("Experiment (JSON)", lambda: run.experiment_json, f"{run.id}.json", "application/json", place)
    st.caption("To read on")
    with st.container(horizontal=True, gap="small"):
        _save("Report (HTML)", lambda: report(run), f"{run.id}.html", "text/html", place)
        _save("Metrics (CSV)", lambda: history.to_csv(index=False), f"{run.id}.csv", "text/csv", place)
        parquet_type = "application/vnd.apache.parquet"
        _save("Metrics (Parquet)", lambda: parquet(history.reset_index(drop=True)), f"{run.id}.parquet", parquet_type, place)
    st.caption("To keep")
    with st.container(horizontal=True, gap="small"):
        _save("The whole run (zip)", lambda: whole(run), f"{run.id}.zip", "application/zip", place)
        if run.done and not run.active and not run.experiment.recipe.personalised:
            _save("Adapter for PEFT (zip)", lambda: adapter(run), f"{run.id}-adapter.zip", "application/zip", place)


def link_to(run: Run) -> str:
    """The address of the playground with the settings of a run."""
    return url.address("playground", run.experiment.to_query())


def whole(run: Run) -> bytes:
    """The run as the zip file that Import reads."""
    file = io.BytesIO()
    archive.export_run(data_access.store(), run.id, file)
    return file.getvalue()


def adapter(run: Run) -> bytes:
    """What the server holds after the last round, as a directory for peft, zipped. Another process does it: it needs torch."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ilora", "adapter", run.id, folder]
        environment = environment_for_python() | {"ILORA_HOME": str(data_access.store().home)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=ADAPTER_SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "the adapter was not written.")
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in sorted(Path(folder).rglob("*")):
                zipped.write(path, path.relative_to(folder))
    return file.getvalue()


def parquet(table: pd.DataFrame) -> bytes:
    """A table as Parquet; columns of mixed kinds become text."""
    mixed = [name for name in table if table[name].dtype == object]
    file = io.BytesIO()
    table.astype(dict.fromkeys(mixed, str)).to_parquet(file, index=False)
    return file.getvalue()


def _save(label: str, make: Callable[[], str | bytes], file: str, kind: str, place: str = "chart") -> None:
    """One button that makes a file when it is pressed."""
    st.download_button(label, make, file, kind, key=f"save.{place}.{file}", on_click="ignore")

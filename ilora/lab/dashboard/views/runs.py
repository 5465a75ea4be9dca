"""The list of all runs: reopen, compare, rename, write a note, export, import, delete."""

import io
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

from ilora.lab.dashboard import data_access
from ilora.lab.dashboard.charts.downloads import run_export
from ilora.lab.dashboard.controls.experiment_form import fill
from ilora.lab.dashboard.run_group import LEAST, MOST_RUNS, RUN, open_comparison, open_run
from ilora.lab.runs import archive
from ilora.lab.runs.store import UNREADABLE, Run, StoreError
from ilora.methods import METHODS
from ilora.records import main_score, score_text

SAID, IMPORTED = "runs.said", "runs.imported"


def runs_page() -> None:
    """Draw the page."""
    runs = data_access.store().runs()
    if sentence := st.session_state.pop(SAID, ""):
        st.toast(sentence)
    if not runs:
        st.info("There are no runs yet. Press Run on the Playground page, and the run stays here.", icon=":material/history:")
        st.page_link("pages/playground.py", label="Go to the playground", icon=":material/experiment:")
    else:
        st.caption("Tick runs to open, compare, rename, export or delete them.")
        picked = st.dataframe(
            as_table(runs),
            on_select="rerun",
            selection_mode="multi-row",
            hide_index=True,
            key="runs.table",
            column_config=_columns(),
            height=min(38 + 35 * len(runs), 520),
            alt=f"{len(runs)} runs, the newest first",
        )
        _actions([runs[i] for i in picked["selection"]["rows"] if i < len(runs)])
    _import()


def as_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row per run, the newest first."""
    rows, others = [], [run.last and main_score(run.last) != "accuracy" for run in runs]
    for run, other in zip(runs, others, strict=True):
        rows.append(
            {
                "Name": run.name,
                "Accuracy": 100 * run.last["accuracy"] if run.last and not other else None,
                **({"Other score": score_text(run.last) if other else ""} if any(others) else {}),
                "Status": run.status,
                "Rounds": "" if run.status == UNREADABLE else f"{run.done} of {run.rounds}",
                "Error": 100 * run.last["aggregation_error"] if run.last else None,
                "Method": _method(run),
                "Started": datetime.fromtimestamp(run.created) if run.created else None,
                "Note": run.error if run.status == UNREADABLE else run.note,
                "Id": run.id,
            }
        )
    return pd.DataFrame(rows)


def _columns() -> dict[str, Any]:
    config = st.column_config
    return {
        "Name": config.TextColumn(width=210),
        "Accuracy": config.NumberColumn(format="%.1f %%", help="Test accuracy after the last finished round."),
        "Other score": config.TextColumn(
            width=130, help="Of tasks that are not scored by accuracy, after the last finished round."
        ),
        "Error": config.NumberColumn("Aggregation error", format="%.1f %%"),
        "Started": config.DatetimeColumn(format="D MMM, HH:mm"),
    }


def _method(run: Run) -> str:
    return METHODS[run.experiment.method].title if data_access.known(run) else "unknown"


def _actions(picked: list[Run]) -> None:
    """What can be done with the runs that are ticked; pale until enough of them are."""
    one = picked[0] if len(picked) == 1 else None
    with st.container(horizontal=True, gap="small"):
        if (
            st.button(
                "Open",
                icon=":material/open_in_new:",
                key="runs.open",
                disabled=one is None or not data_access.known(one),
                type="primary",
            )
            and one
        ):
            st.session_state[RUN] = one.id
            fill(one.experiment)
            open_run(one.id)
        few = LEAST <= len(picked) <= MOST_RUNS
        if st.button("Compare", icon=":material/compare_arrows:", key="runs.compare", disabled=not few):
            open_comparison([run.id for run in picked])
        if st.button("Rename or note", icon=":material/edit:", key="runs.edit", disabled=one is None) and one:
            _edit(one)
        if st.button("Delete", icon=":material/delete:", key="runs.delete", disabled=not picked):
            _delete(picked)
        exportable = one is not None and data_access.known(one)
        if st.button("Export", icon=":material/download:", key="runs.export", disabled=not exportable) and one:
            _export(one)


@st.dialog("Rename or note")
def _edit(run: Run) -> None:
    name = st.text_input("Name", run.name, key="runs.name", max_chars=200)
    note = st.text_area("Note", run.note, key="runs.note")
    if st.button("Save", type="primary", key="runs.save"):
        try:
            data_access.store().rename(run.id, name)
            data_access.store().set_note(run.id, note)
        except StoreError as error:
            st.error(str(error), icon=":material/error:")
            return
        st.rerun()


@st.dialog("Delete for good?")
def _delete(runs: list[Run]) -> None:
    st.markdown("\n".join(f"- {run.name} ({run.done} of {run.rounds} rounds)" for run in runs[:12]))
    if len(runs) > 12:
        st.caption(f"and {len(runs) - 12} more")
    if st.button(
        f"Delete {len(runs)} run{'s' if len(runs) > 1 else ''}", type="primary", key="runs.confirm", icon=":material/delete:"
    ):
        refused = []
        for run in runs:
            try:
                data_access.store().delete(run.id)
            except StoreError as error:
                refused.append(str(error))
        st.session_state.pop("runs.table", None)
        st.session_state[SAID] = " ".join(refused) or f"Deleted {len(runs)}."
        st.rerun()


@st.dialog("Export")
def _export(run: Run) -> None:
    st.markdown(f"**{run.name}**")
    run_export(run, "runs")


def _import() -> None:
    """Read a run that somebody exported; a file that is not one is refused in one sentence."""
    with st.expander("Import a run", icon=":material/upload:"):
        file = st.file_uploader("A zip file that Export wrote", type="zip", key="runs.upload")
        if file is None or st.session_state.get(IMPORTED) == file.file_id:
            return
        st.session_state[IMPORTED] = file.file_id
        try:
            run_id = archive.import_run(data_access.store(), io.BytesIO(file.getvalue()))
        except StoreError as error:
            st.error(str(error), icon=":material/error:")
            return
        st.session_state[SAID] = f"Imported as {run_id}."
        st.rerun()

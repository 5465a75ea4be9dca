"""The notebooks are the lessons, valid, and run from the first cell to the last on the embedded task."""

import importlib.util

import nbformat
import pytest

from tests.cells import run_cells
from tests.conftest import ROOT

_spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts" / "notebooks.py")
assert _spec
assert _spec.loader
notebooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(notebooks)
WRITTEN = notebooks.written()


def test_there_is_one_for_each_lesson_and_all_are_up_to_date():
    found = {path: path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert found == WRITTEN, "run: python scripts/notebooks.py"


@pytest.mark.slow
@pytest.mark.parametrize("path", WRITTEN, ids=[path.stem for path in WRITTEN])
def test_it_runs_to_the_end_and_every_question_has_an_answer(path, capsys):
    book = nbformat.read(path, as_version=4)
    run_cells(book)
    assert capsys.readouterr().out.count("So here:") == 3

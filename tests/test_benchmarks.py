"""What `make bench` runs still runs, at its smallest size."""

import re
from typing import Any

import pytest
import torch

from benchmarks import app, engine
from tests.conftest import Lab


def test_the_engines_are_measured(capsys: pytest.CaptureFixture[str]):
    engine.main(["--clients", "2", "--steps", "1", "--repeats", "1", "--threads", str(torch.get_num_threads())])
    row = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"\| 2 (\| -?\d+ \(-?\d+--?\d+\) ){3}(\| -?\d+\.\dx ){2}\| \de[+-]\d\d \|", row)


@pytest.mark.browser
@pytest.mark.slow
def test_the_app_is_measured(lab: Lab, browser: Any):
    page = browser.new_page(viewport=app.WINDOW)
    lines = list(app.tables(page, lab.url, visits=1, presses=2))
    page.close()
    assert re.search(r"Ratio: \d+\.\d\d$", lines[-1])

"""What a notebook's last line shows is short, whatever is in it."""

from typing import Any

import numpy as np
import pytest

import ilora
from ilora.experiment import Experiment
from ilora.records import MOST_SHOWN, brief, html_table

SMALL: dict[str, Any] = {"ranks": [2, 4], "rounds": 2, "local_steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def result() -> ilora.Result:
    return ilora.run(Experiment(method="fedit", **SMALL))


def test_what_a_run_returns_is_shown_in_under_1000_characters(result):
    for value in (result, result.rounds[0], result.adapter(), result.experiment):
        assert len(repr(value)) < 1_000
        assert repr(value).startswith(f"{type(value).__name__}(")


def test_a_result_says_what_was_run_and_how_it_ended(result):
    assert "method='fedit'" in repr(result)
    assert f"{result.rounds[-1].accuracy:.1%}" in repr(result)


def test_an_experiment_is_shown_by_what_differs_from_the_default():
    experiment = Experiment(method="fedit", ranks=[2, 4, 6], alpha=0.1)
    assert eval(repr(experiment)) == experiment
    assert repr(Experiment()) == "Experiment()"


def test_many_clients_and_a_long_path_are_cut():
    experiment = Experiment(task="cifar10", ranks=[2] * 1_000, data="/far/away" * 50, left_out=list(range(300)))
    assert len(repr(experiment)) < 1_000
    assert len(experiment._repr_html_()) < 2_000


def test_a_notebook_shows_the_newest_rounds_as_a_table(result):
    table = result._repr_html_()
    assert "<th>accuracy</th>" in table
    assert f"{result.rounds[-1].accuracy:.4f}" in table
    assert len(table) < 4_000


def test_markup_in_a_value_is_text():
    assert "<script>" not in html_table("<script>", {"<script>": "<script>"})


def test_however_many_fields_there_are_the_line_is_short():
    assert len(brief("Name", {f"field_{i}": np.ones(100) for i in range(100)})) < MOST_SHOWN + 20

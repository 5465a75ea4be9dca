"""The table over real tasks: floor and ceiling are what they say, parts of a document do not touch each other."""

import numpy as np
import pandas as pd
import pytest

from ilora.api import run
from ilora.experiment import Experiment
from ilora.lab.suites.over_seeds import put_part
from ilora.lab.suites.over_tasks import CEILING, COMPARED, FLOOR, LINES, cell, entries, report, sentence, write_task_results

BASE = Experiment(ranks=[1, 3], rounds=2, local_steps=2, batch_size=8)


def a_column(**means: float) -> pd.DataFrame:
    """Lines with these means whose three seeds lie a little around them, no two lines alike."""
    rows = {FLOOR: 0.5, CEILING: 0.95, "ILoRA, corrected": 0.8} | means
    wobble = np.random.default_rng(0).permuted(np.tile([-0.01, 0.0, 0.01], (len(rows), 1)), axis=1)
    lines = {name: (mean, 0.01, (mean + own).tolist(), 1.25) for (name, mean), own in zip(rows.items(), wobble, strict=True)}
    return pd.DataFrame.from_dict(lines, orient="index", columns=["mean", "half", "scores", "correction"])


def test_the_floor_trains_the_head_and_nothing_else():
    result = run(BASE.replace(**entries(BASE)[FLOOR]))
    before, after = result.rounds[0].factors, result.rounds[-1].factors
    assert all(np.abs(tensor).max() == 0 for name, tensor in after.items() if name.endswith("/B"))
    assert all(np.array_equal(before[name], after[name]) for name in before if name.endswith("/A"))
    assert result.rounds[-1].loss < result.rounds[0].loss
    assert result.rounds[-1].bytes_up == 2 * 4 * result.simulation.facts.head_parameters


def test_the_ceiling_sees_as_many_samples_in_one_place_as_all_clients_together():
    central = BASE.replace(**entries(BASE)[CEILING])
    assert central.client_ranks == (3,)
    assert central.local_steps * len(central.client_ranks) == BASE.local_steps * len(BASE.client_ranks)


def test_every_compared_method_has_a_line():
    lines = entries(BASE)
    assert {changes["method"] for changes in lines.values()} == set(COMPARED)
    assert {"ILoRA, corrected", "ILoRA, paper", "ILoRA, official"} < set(lines)


def test_a_leader_alone_is_told_from_one_in_company():
    alone, company = sentence("X", a_column(FedIT=0.9, FLoRA=0.7)), sentence("X", a_column(FedIT=0.9, FLoRA=0.895))
    assert "FedIT has the highest mean, +40.0 points from the head alone and -5.0 from centralised LoRA." in alone
    assert (
        "It is ahead of 2 of the other 2 under every seed; paired t-tests (Holm, 5 %) find a significant difference from 2."
        in alone
    )
    assert "It is ahead of 1 of the other 2 under every seed" in company
    assert "significant difference from 1." in company
    assert "place" not in alone + company


def test_lines_that_nothing_tells_apart_share_the_lead_and_none_is_bold():
    column = a_column(FedIT=0.9, FLoRA=0.9)
    assert "2 of 3 lines share the highest mean" in sentence("X", column)
    assert "**" not in cell(column, "FedIT") + cell(column, "FLoRA")


def test_only_the_best_federated_mean_is_bold():
    column = a_column(FedIT=0.9)
    assert cell(column, "FedIT") == "**90.0 ± 1.0**"
    assert cell(column, CEILING) == "95.0 ± 1.0"
    assert cell(column, "FLoRA") == "not run"


def test_a_part_of_a_document_replaces_itself_and_leaves_the_others(tmp_path):
    path = tmp_path / "results.md"
    for part in ("# One\n\nfirst", "# Two\n\n## Within\n\nsecond", "# One\n\nfirst again"):
        put_part(path, part)
    assert path.read_text(encoding="utf-8") == "# One\n\nfirst again\n\n# Two\n\n## Within\n\nsecond\n"


def test_the_report_says_what_was_run():
    text = report({"Handwritten digits": BASE}, {"Handwritten digits": a_column(FedIT=0.9)}, 3)
    assert (
        "| Handwritten digits | accuracy | tiny-vit-letters | 2, 1, 3 | label, alpha 0.3 | 2 × 2 × 8 | adamw, 0.002 | float32 |"
        in text
    )
    assert "| FedIT | **90.0 ± 1.0** |" in text
    assert "| *ILoRA, corrected: correction / gradient* | 1.25 |" in text


@pytest.mark.slow
def test_the_suite_writes_its_part(tmp_path, monkeypatch):
    monkeypatch.setenv("ILORA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("ilora.lab.suites.over_tasks.LINES", LINES[:1])
    monkeypatch.setattr("ilora.lab.suites.over_tasks.LEARNING_RATES", {"digits": (2e-3, 1e-3)})
    base = BASE.replace(rounds=1, local_steps=1)
    columns = write_task_results(tmp_path / "results.md", base, 2)
    text = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert text.startswith("# Results on CIFAR and GLUE")
    assert list(columns) == ["Handwritten digits at 0.002", "Handwritten digits at 0.001"]
    assert all(set(column.index) == set(entries(base)) for column in columns.values())
    assert "not run" not in text

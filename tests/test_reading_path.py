"""The reading path names functions that one round of ILoRA really enters, in files that are there."""

import re
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import ilora
from ilora.simulation.round_loop import Simulation
from tests.conftest import ROOT
from tests.toy import small_tasks, toy_experiment

PATH = (ROOT / "docs/read-the-algorithm.md").read_text(encoding="utf-8")
STEPS = re.findall(r"\| \[`([\w/]+\.py):([\w.]+)`\]\(\.\./ilora/([\w/]+\.py)\) \|", PATH)
PACKAGE = Path(ilora.__file__).parent


def entered_by_a_round() -> set[CodeType]:
    """The package's functions that an experiment's making and its first round enter."""
    entered: set[CodeType] = set()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            entered.add(frame.f_code)

    with small_tasks():
        sys.setprofile(note)
        try:
            Simulation(toy_experiment(method="ilora", ranks=(2, 4, 6), rounds=1)).next_round()
        finally:
            sys.setprofile(None)
    return entered


def test_a_round_enters_every_function_that_the_path_names() -> None:
    entered = entered_by_a_round()
    names = {(Path(code.co_filename).relative_to(PACKAGE).as_posix(), code.co_qualname) for code in entered}
    classes = {(path, name.partition(".")[0]) for path, name in names}
    assert len(STEPS) > 20
    for path, name, linked in STEPS:
        assert path == linked
        assert (path, name) in names | classes, f"{path}:{name}"
    (stated,) = re.findall(r"functions of (\d+) files, ([\d,]+) lines", PATH)
    files, lines = (int(number.replace(",", "")) for number in stated)
    assert abs(files - len({code.co_filename for code in entered})) <= 4
    assert abs(lines / lines_of(entered) - 1) < 0.1


def lines_of(entered: set[CodeType]) -> int:
    """How many lines of source the functions take, one within another counted once."""
    covered = {(code.co_filename, line) for code in entered if code.co_name != "<module>" for line in span(code)}
    return len(covered)


def span(code: CodeType) -> range:
    numbers = [line for *_, line in code.co_lines() if line]
    return range(code.co_firstlineno, max(numbers, default=code.co_firstlineno) + 1)

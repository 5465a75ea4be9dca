"""Does what the lessons say hold? Runs each of them over several seeds and counts how often each answer comes out.

python scripts/check_lessons.py --seeds 5 [lesson ...]
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

import ilora
from ilora.lab.content.lessons import Histories, Lesson, all_lessons


def histories(lesson: Lesson, seed: int, known: dict[str, pd.DataFrame]) -> Histories:
    """The runs of a lesson under one seed; the same experiment is trained once only."""
    for experiment in lesson.experiments(seed).values():
        if experiment.to_json() not in known:
            known[experiment.to_json()] = pd.DataFrame([round.metrics() for round in ilora.simulate(experiment)])
    return {arm: known[experiment.to_json()] for arm, experiment in lesson.experiments(seed).items()}


def main() -> None:
    """Print one line per question: how often each answer came out, the expected one with a star."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lessons", nargs="*", default=[], help="ids; all by default")
    parser.add_argument("--seeds", type=int, default=5)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    known: dict[str, pd.DataFrame] = {}
    for lesson in all_lessons().values():
        if chosen.lessons and lesson.id not in chosen.lessons:
            continue
        runs = [histories(lesson, seed, known) for seed in range(chosen.seeds)]
        for number, step in enumerate(lesson.steps):
            counts = Counter(step.check.answer(run) for run in runs)
            said = ", ".join(f"{'*' if c == step.expected else ''}{c or '?'} {counts[c]}" for c in {**step.choices, **counts})
            values = " ".join(f"{step.check.value(run):.3g}" for run in runs)
            print(f"{lesson.id} {number + 1}: {said}   values {values}", flush=True)


if __name__ == "__main__":
    main()

"""Writes the lessons as notebooks: `python scripts/notebooks.py` makes notebooks/*.ipynb from ilora/lab/content/lessons/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from ilora.lab.content.lessons import Lesson, Step, all_lessons
from ilora.lab.content.reproduce import as_python, notebook

FOLDER = Path(__file__).parent.parent / "notebooks"
SINGLE = {  # a chart of one run -> the figure that draws it
    "error": "figures.error_split(history({0}))",
    "loss": "figures.losses(history({0}))",
    "traffic": "figures.traffic(history({0}))",
    "client-data": "figures.client_data(results[{0}].simulation.facts)",
    "spectrum": "figures.spectrum(results[{0}].rounds[-1], layer)",
    "alignment": "figures.alignment(results[{0}].rounds[-1], layer)",
}
START = """import torch

import ilora
from ilora import figures, lessons

torch.set_num_threads(1)
lesson = lessons.all_lessons()["{id}"]
experiments = {{
{experiments}}}
results = {{arm: ilora.run(experiment) for arm, experiment in experiments.items()}}
"""
TOOLS = """def history(arm):
    return results[arm].history.reset_index()


def over_rounds(measure):
    traces = [figures.Trace(lesson.labels[arm], experiments[arm].method, history(arm)) for arm in results]
    return figures.over_rounds(traces, measure)


def check(number):
    step, histories = lesson.steps[number - 1], {arm: history(arm) for arm in results}
    print(step.check.sentence(histories, lesson.labels))
    answer = step.check.answer(histories)
    print("So here:", step.choices[answer])
    if answer != step.expected:
        print(step.otherwise)


layer = results[next(iter(results))].simulation.facts.layers[0]
"""


def cells(lesson: Lesson) -> list[tuple[str, str]]:
    """The notebook's cells: read, run, then for each question predict, observe, explain."""
    made = "".join(
        f'    "{arm}": {_indented(as_python(experiment))},  # {lesson.labels[arm]}\n'
        for arm, experiment in lesson.experiments().items()
    )
    head = f"# {lesson.title}\n\n*{lesson.question}*\n\n{lesson.intro}"
    found = [("markdown", head), ("markdown", predict(1, lesson.steps[0]))]
    found += [("code", START.format(id=lesson.id, experiments=made)), ("code", TOOLS)]
    for number, step in enumerate(lesson.steps, start=1):
        if number > 1:
            found.append(("markdown", predict(number, step)))
        found += [("code", draw(chart)) for chart in step.charts]
        found += [("code", f"check({number})"), ("markdown", f"**Explain.** {step.explain}")]
    return [*found, ("markdown", f"## What to keep\n\n{lesson.recap}\n\n**Try it.** {lesson.try_it}")]


def predict(number: int, step: Step) -> str:
    """A question, to be answered before the next cell is run."""
    choices = "\n".join(f"- {text}" for text in step.choices.values())
    return f"## Question {number}\n\n{step.ask}\n\n{choices}\n\nDecide, then run the cells below."


def draw(chart: str) -> str:
    """The code that draws a chart of the lesson."""
    arm, _, name = chart.partition(":")
    return SINGLE[name].format(f'"{arm}"') if name else f'over_rounds("{chart}")'


def written() -> dict[Path, str]:
    """Every notebook's file with its text."""
    lessons = enumerate(all_lessons().values(), start=1)
    return {FOLDER / f"{number}-{lesson.id}.ipynb": notebook(cells(lesson)) for number, lesson in lessons}


def _indented(code: str) -> str:
    return code.replace("\n", "\n    ")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
        print(path.name)

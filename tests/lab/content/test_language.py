"""Texts are plain, idiomatic English in the field's own terms, and claim nothing that was measured to be false."""

import ast
import re
from collections.abc import Iterator

import pytest

from ilora.lab.analysis.measures import MEASURES
from ilora.lab.content.glossary import GLOSSARY
from ilora.lab.content.lessons import Lesson, all_lessons
from ilora.lab.content.limits import LIMITS
from ilora.lab.content.scenarios import SCENARIOS
from ilora.methods import METHODS
from tests.conftest import ROOT

AVOID = {  # pattern -> what to write
    r"\b(every|some|no)body\b": "all clients, no client",
    r"\beveryone\b": "all clients",
    r"\bone of all\b": "merges the adapters",
    r"\bunlike\b": "different",
    r"\bdear(er)?\b": "expensive",
    r"\bhand(s|ed|ing)? (\w+ )?(out|back)\b": "broadcast, send back",
    r"\banother (part|update|seed|shape|way|answer|quantity|set)\b": "a different one",
    r"\bas (many|much)( \w+)?[.,;:)]": "the same number of",
    r"\bas (many|much) again\b": "twice",
    r"\btimes as much\b": "twice the, 1.5 times the",
    r"\beach for itself\b": "separately",
    r"\bwaters? down\b|\bstarve": "dilute",
    r"\bpull(s|ed|ing)?\b": "local gradient",
    r"\brun(s|ning)? off\b": "drift",
    r"\bsureness\b": "confidence",
    r"\b(tell|tells|told) (it|them|\w+) (from|apart)\b|\btold apart\b": "significantly different",
    r"\bcommon model\b": "global model",
    r"\bcouncil\b": "ensemble disagreement",
    r"\brubber band\b": "proximal term",
    r"\bcomes to live\b": "shrinks to",
    r"\bturned among themselves\b": "rotated",
    r"\bon the wire\b": "traffic",
    r"\bfores(aw|een)\b": "predicted",
    r"\bmend\b": "fix",
    r"\bis taken for\b": "determines",
    r"\bgoes most of the way\b|\ba long way\b": "a number",
    r"\ball there is to it\b": "the whole story",
}
FALSE = {  # pattern -> what is true
    r"(?<!not )\bcheaper (to compute )?than an SVD\b(?! for a dense matrix)": "from thin factors QR and SVD cost the same order",
    r"\bcheap cut\b|\bfor the most work\b": "from thin factors QR and SVD cost the same order",
    r"\bdivided by the weights? twice\b|\bdivides them by\b": "multiplied by the weight twice",
    r"\bkeeps them in proportion\b": "multiplied by the weight each round: it collapses, too",
    r"\bthe average moves further\b": "where the mean goes changes",
    r"\ban?ew in each round · |\bown random A each round\b": "in the first round only",
    r"\bthe authors' code, literally\b": "with four named departures",
    r"\bplace \d+ of \d+\b": "intervals and differences, no ranks: nothing is tuned per method",
    r"\breason why most methods\b": "one family of methods",
}


def of_lesson(lesson: Lesson) -> Iterator[str]:
    yield from (lesson.title, lesson.question, lesson.intro, lesson.recap, lesson.try_it, *lesson.labels.values())
    for step in lesson.steps:
        yield from (step.ask, step.explain, step.otherwise, *step.choices.values())


def of_module(source: str) -> Iterator[str]:
    """The string constants of a module, docstrings excepted; of an f-string the constant parts."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def texts() -> Iterator[tuple[str, str]]:
    """Every text with where it stands."""
    for name, lesson in all_lessons().items():
        yield from ((f"lesson {name}", text) for text in of_lesson(lesson))
    for path in sorted((ROOT / "ilora/lab/captions").glob("*.py")):
        yield from ((path.name, text) for text in of_module(path.read_text(encoding="utf-8")))
    yield from ((f"glossary, {term}", text) for term, text in GLOSSARY.items())
    for limits in LIMITS.values():
        yield from ((f"limit {limit.title}", f"{limit.title}. {limit.text}") for limit in limits)
    yield from ((f"scenario {own.title}", f"{own.title}. {own.watch}") for own in SCENARIOS.values())
    for method in METHODS.values():
        yield from ((method.title, text) for text in (method.idea, method.note, method.cost, *method.choices))
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        prose = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        yield path.name, prose


ALL = [(where, re.sub(r"\s+", " ", text)) for where, text in texts()]


@pytest.mark.parametrize(("pattern", "instead"), [*AVOID.items(), *FALSE.items()])
def test_no_text_has_a_word_to_avoid_or_a_claim_that_is_false(pattern, instead):
    found = {(where, match[0]) for where, text in ALL for match in re.finditer(pattern, text, re.IGNORECASE)}
    assert not found, f"write instead: {instead}"


def test_all_kinds_of_texts_are_read():
    kinds = {where.split()[0].rstrip(",") for where, _ in ALL}
    assert kinds >= {"lesson", "rounds.py", "glossary", "limit", "ILoRA", "README.md", "results.md"}
    assert "docstring" not in of_module('"""docstring"""\nx = f"a{1}b"')
    assert list(of_module('def f():\n    """docstring"""\n    return f"a{1}b"')) == ["a", "b"]


def test_drift_is_everywhere_a_ratio_of_squares():
    lesson = all_lessons()["drift"]
    for text in (GLOSSARY["client drift"], MEASURES["drift"].about, lesson.intro):
        assert "squared" in text

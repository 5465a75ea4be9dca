"""What is said of an ingredient follows from its traits: another key changes nothing, and what is not declared is not guessed."""

import ast
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

import ilora
from ilora.methods import METHODS, Method, properties, register_method, resolve
from ilora.methods.compatibility import REFUSALS, Clash
from ilora.methods.ingredient import Ingredient
from ilora.methods.ingredients import INGREDIENTS, STAGES
from tests.conftest import ROOT

EVERY = [(stage, key) for stage in STAGES for key in INGREDIENTS[stage]]
COLUMNS = (properties.exact, properties.mixed_ranks, properties.merges, properties.download)
OPTIONS: tuple[dict[str, object], ...] = ({}, {"space": "factor"}, {"deltas": False}, {"kl": 0.04}, {"deltas": False, "kl": 0.04})


@pytest.fixture
def own_methods(monkeypatch):
    """Whatever a test registers is gone after it."""
    monkeypatch.setattr("ilora.methods.METHODS", METHODS.copy())
    for stage in STAGES:
        monkeypatch.setitem(INGREDIENTS, stage, INGREDIENTS[stage].copy())
    return ilora.methods.METHODS


def row(method: Method) -> list[str]:
    """What the table says of a method."""
    return [column(method) for column in COLUMNS]


def swapped(method: Method, stage: str, key: str) -> Method:
    """The method with another ingredient in one stage."""
    changed: dict[str, Any] = {stage: key}
    return replace(method, **changed)


def refusal(method: str, options: Mapping[str, object]) -> str:
    """The sentence with which a choice is refused; "" where it is not."""
    try:
        resolve(method, options)
    except ValueError as error:
        return str(error)
    return ""


# A second key -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bare", [True, False], ids=["function", "ingredient"])
@pytest.mark.parametrize(("stage", "key"), EVERY)
def test_a_built_in_ingredient_under_a_second_key_has_the_same_row_and_the_same_refusals(stage, key, bare, own_methods):
    known = INGREDIENTS[stage][key]
    copy = "again"
    others = [(other, with_) for other, with_ in EVERY if other != stage]
    register_method(copy, Method(title="Again"), **{stage: known.load() if bare else known})
    for method in METHODS.values():
        assert row(swapped(method, stage, copy)) == row(swapped(method, stage, key))
    home = next((name for name in ("fedit", "dfl", "co-pfl", "mor") if not refusal(name, {stage: key})), "fedit")
    for (other, with_), options in product(others, OPTIONS):
        chosen = {other: with_, **options}
        under_its_own = refusal(home, {stage: key, **chosen}).replace(f"{stage} {key!r}", f"{stage} {copy!r}", 1)
        assert refusal(home, {stage: copy, **chosen}) == under_its_own


def test_a_bare_function_of_the_package_keeps_its_options_and_has_the_methods_title(own_methods):
    register_method("again", Method(title="Again", options={"split": "A"}), aggregate=INGREDIENTS["aggregate"]["svd"].load())
    assert resolve("again", {}).options == {"deltas": True, "split": "A"}
    assert INGREDIENTS["aggregate"]["again"].title == "Again"


# Nothing declared ---------------------------------------------------------------------------------------------------------------

SILENT = {  # stage -> the columns that would have to know
    "sharing": {"exact", "mixed_ranks", "download"},
    "correction": {"download"},
    "upload": {"exact", "mixed_ranks"},
    "weighting": {"exact", "download"},
    "aggregate": {"exact", "mixed_ranks", "merges", "download"},
    "server": {"exact"},
}


def unknown(*_: object) -> None:
    """Nobody knows what it does."""


class Unknown:
    """Nobody knows what it remembers."""


@pytest.mark.parametrize("source", [unknown, Unknown, Ingredient("Unknown", "Nobody knows.", unknown)], ids=lambda own: type(own))
@pytest.mark.parametrize("stage", STAGES)
def test_what_an_ingredient_does_not_declare_is_neither_yes_nor_no(stage, source, own_methods):
    register_method("silent", Method(title="Silent"), **{stage: source})
    for method in METHODS.values():
        if method.personalised:
            continue
        silent = swapped(method, stage, "silent")
        said = {column.__name__ for column in COLUMNS if column(silent) == properties.NOT_DECLARED}
        assert said == SILENT.get(stage, set())


@pytest.mark.parametrize(("stage", "key"), EVERY)
def test_every_ingredient_of_the_package_declares_what_the_table_asks(stage, key):
    for method in METHODS.values():
        assert properties.NOT_DECLARED not in row(swapped(method, stage, key))


# What goes together -------------------------------------------------------------------------------------------------------------

REFUSED = """
sharing b-only: initialise fresh; aggregate stack thresholded-stack
sharing alternate: initialise fresh; aggregate stack thresholded-stack
sharing a-only: initialise fresh; correction control-variates transported-variates; upload rotate; weighting contribution
sharing a-only: aggregate stack svd concat-qr concat-pivoted-qr corrected-mean mean-and-residual rank-partitions
sharing a-only: aggregate full-rank-deltas thresholded-stack
sharing diagonal: initialise fresh; upload without-scales; aggregate stack thresholded-stack
sharing top-slots: initialise fresh; objective tail-penalty; upload prune-tail prune-weak
sharing alternate-top: initialise fresh; objective tail-penalty; upload prune-tail prune-weak; aggregate stack thresholded-stack
sharing sketch: initialise qr fresh; objective tail-penalty; upload prune-tail prune-weak
sharing personal-slots: initialise fresh; correction control-variates transported-variates global-direction scaffold
sharing personal-slots: upload rotate prune-tail prune-weak; server dual-shift
sharing personal-slots: aggregate mean stack svd concat-qr concat-pivoted-qr corrected-mean mean-and-residual rank-partitions
sharing personal-slots: aggregate full-rank-deltas thresholded-stack
sharing rewards: initialise fresh; objective tail-penalty dual contrast roughness pseudo-out
sharing rewards: correction control-variates transported-variates global-direction scaffold split-moments
sharing rewards: upload prune-tail prune-weak
sharing rewards: server dual-shift
sharing branches: initialise qr fresh; correction control-variates transported-variates global-direction scaffold split-moments
sharing branches: objective cross-entropy tail-penalty proximal dual contrast roughness pseudo-out grpo
sharing branches: upload rotate prune-tail prune-weak without-scales; weighting inverse-truncation confidence contribution
sharing branches: aggregate stack mean-and-residual rank-partitions full-rank-deltas thresholded-stack; server dual-shift
objective contrast: aggregate stack mean-and-residual thresholded-stack
objective disentangle: sharing both b-only head-only alternate a-only diagonal top-slots alternate-top sketch personal-slots
objective disentangle: sharing rewards members
correction split-moments: objective proximal dual roughness
correction global-direction: upload rotate; aggregate stack svd concat-qr concat-pivoted-qr rank-partitions full-rank-deltas
correction global-direction: aggregate thresholded-stack
correction scaffold: upload rotate; aggregate stack svd concat-qr concat-pivoted-qr rank-partitions full-rank-deltas
correction scaffold: aggregate thresholded-stack
server adam: upload rotate; aggregate stack svd concat-qr concat-pivoted-qr rank-partitions full-rank-deltas thresholded-stack
server adamw: aggregate stack svd concat-qr concat-pivoted-qr mean-and-residual rank-partitions full-rank-deltas thresholded-stack
"""  # of all pairs, under default options


def refused_pairs() -> set[frozenset[tuple[str, str]]]:
    """The pairs that REFUSED names."""
    pairs = set()
    for line in REFUSED.strip().splitlines():
        one, others = line.split(": ")
        for stage, *keys in map(str.split, others.split("; ")):
            pairs |= {frozenset([(one.split()[0], one.split()[1]), (stage, key)]) for key in keys}
    return pairs


NEEDED = {
    "personal-slots": {"aggregate": "owners-mean"},
    "branches": {"objective": "disentangle"},
    "disentangle": {"sharing": "branches"},
}


def test_the_pairs_that_do_not_go_together_are_these_and_no_others():
    """On plain averaging, with what personal slots and branches cannot do without."""
    expected = refused_pairs()
    for (stage, key), (other, with_) in product(EVERY, EVERY):
        if STAGES.index(stage) < STAGES.index(other):
            chosen = NEEDED.get(key, {}) | NEEDED.get(with_, {}) | {stage: key, other: with_}
            refused = any(frozenset(pair) in expected for pair in product(chosen.items(), chosen.items()))
            assert bool(refusal("fedit", chosen)) == refused, (stage, key, other, with_)


def test_a_clash_of_ones_own_means_a_key_and_no_part_of_it(monkeypatch):
    monkeypatch.setattr(
        "ilora.methods.compatibility.REFUSALS", [*REFUSALS, Clash("aggregate", "stack", "upload", "quantise", "no")]
    )
    assert refusal("fedit", {"aggregate": "stack", "upload": "quantise"}) == (
        "option aggregate 'stack' does not go with upload 'quantise': no; the nearest choice is upload 'as-is'."
    )
    assert not refusal("fedit", {"aggregate": "thresholded-stack", "upload": "quantise"})


@pytest.mark.parametrize(
    ("method", "options", "sentence"),
    [
        (
            "feddyn",
            {"space": "factor", "aggregate": "svd"},
            "option objective 'dual' does not go with aggregate 'svd': numbers are remembered slot by slot, and the slots of A"
            " and B get a new meaning each round; the nearest choice is aggregate 'mean' or space = 'product'.",
        ),
        (
            "aer",
            {"kl": 0.04, "initialise": "qr", "aggregate": "concat-qr"},
            "option objective 'grpo' does not go with aggregate 'concat-qr': an earlier round's model is run again, and by then"
            " the base beneath it is another one; the nearest choice is aggregate 'mean' or kl = 0 or deltas = False.",
        ),
    ],
)
def test_a_setting_is_offered_where_it_would_do(method, options, sentence):
    assert refusal(method, options) == sentence


# No key outside of its own declaration ------------------------------------------------------------------------------------------

DECLARED = ("ilora/methods/ingredients", "ilora/methods/recipes", "ilora/methods/method.py")  # method.py: the plain recipe
CHOSEN = (
    "ilora/lab/content",
    "ilora/lab/suites",
    "ilora/lab/dashboard/views/drift.py",
)  # ingredients of an experiment that is run
OTHER_WORDS = {  # that are also words for something else: a metric, an optimizer, a column, a rank profile, a style, a group
    *("mean", "none", "both", "random", "samples", "uniform", "members", "rewards", "stack", "svd", "qr", "adam", "adamw"),
    *("scaffold", "contrast", "dual", "confidence", "contribution", "roughness", "fresh", "take", "sketch", "diagonal"),
}
KEYS = {key for _, key in EVERY}


def sources() -> list[str]:
    """The files that must not name an ingredient."""
    files = [ROOT / "ilora/api.py", *(ROOT / "ilora/methods").rglob("*.py"), *(ROOT / "ilora/lab").rglob("*.py")]
    names = [path.relative_to(ROOT).as_posix() for path in files]
    return sorted(name for name in names if not name.startswith((*DECLARED, *CHOSEN)))


def is_an_ingredients_key(node: ast.expr) -> bool:
    """Whether an expression reads `...ingredients[stage]`, or the stage of a method, `method.aggregate`."""
    if isinstance(node, ast.Subscript):
        return isinstance(node.value, ast.Attribute) and node.value.attr == "ingredients"
    return isinstance(node, ast.Attribute) and node.attr in STAGES


@pytest.mark.parametrize("source", sources())
def test_no_ingredient_is_named_outside_of_its_own_declaration_and_the_recipes(source):
    tree = list(ast.walk(ast.parse((ROOT / source).read_text(encoding="utf-8"))))
    named = {node.value for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, str)} & KEYS
    assert named <= OTHER_WORDS
    for compared in (node for node in tree if isinstance(node, ast.Compare)):
        if any(map(is_an_ingredients_key, [compared.left, *compared.comparators])):
            constants = {node.value for node in ast.walk(compared) if isinstance(node, ast.Constant)}
            assert not constants & KEYS, ast.unparse(compared)

"""Methods are recipes: every one resolves, every option is checked by name, and a user's own stands beside them."""

import inspect
import re

import pytest
import torch

import ilora
from ilora.lora.scaling import Scaling
from ilora.methods import METHODS, PROVENANCE, Method, resolve
from ilora.methods.ingredients import INGREDIENTS, STAGES
from ilora.stages.context import RunSetting
from ilora.stages.stage import make
from tests.laws import at_home
from tests.toy import draw_clients

SETTING = RunSetting(0, (2, 4), (10, 20), Scaling(1.0), {"query": (8, 8)}, 1, 4, "cpu")


@pytest.mark.parametrize("key", METHODS)
def test_every_method_says_where_it_comes_from_and_loads_all_its_ingredients(key):
    method = METHODS[key]
    assert method.title
    assert method.formula
    assert method.paper
    assert method.provenance in PROVENANCE
    for mode in method.modes or ("",):
        recipe = resolve(key, {"mode": mode} if mode else {})
        for stage in STAGES:
            ingredient = make(recipe, stage, SETTING)
            assert callable(ingredient)
            assert (getattr(ingredient, "func", None) or type(ingredient)).__doc__


AUTHORS_CODE = r"[\w-]+/[\w-]+@[0-9a-f]{7}(:[\w./-]+)?(:[\w.]+)?"  # owner/repository@commit:path:function


def fits(source: str, provenance: str) -> bool:
    """Whether a label claims no more than its source: without the authors' code nothing is exact from it."""
    authors = bool(re.fullmatch(AUTHORS_CODE, source))
    return {
        "code": authors,
        "corrected": authors,
        "paper": source == "paper only",
        "secondary": source.startswith("third-party code"),
        "reconstruction": authors or source == "paper only",
    }[provenance]


@pytest.mark.parametrize("key", METHODS)
def test_every_method_names_its_source_and_its_label_claims_no_more(key):
    assert fits(METHODS[key].source, METHODS[key].provenance)
    assert fits(METHODS[key].source, METHODS[key].provenance_of())


def test_a_label_that_contradicts_its_source_is_noticed():
    assert fits("alibaba/FederatedScope@4643e1a:fed_utils/model_aggregation.py:FlexLoRA", "code")
    assert not fits("third-party code: NVIDIA/NVFlare@202ab67", "code")
    assert not fits("paper only", "code")
    assert not fits("", "reconstruction")
    assert not fits("paper only", "secondary")


@pytest.mark.parametrize(("stage", "key"), [(stage, key) for stage in INGREDIENTS for key in INGREDIENTS[stage]])
def test_every_ingredient_can_be_swapped_in_and_takes_each_of_its_values(stage, key):
    home = at_home(stage, key)
    for name, option in INGREDIENTS[stage][key].options.items():
        for value in option.values:
            assert resolve(home, {stage: key, name: value}).options[name] == value
    assert resolve(home, {stage: key}).ingredients[stage] == key


@pytest.mark.parametrize(("stage", "key"), [(stage, key) for stage in INGREDIENTS for key in INGREDIENTS[stage]])
def test_an_ingredients_settings_and_their_defaults_stand_in_its_own_code(stage, key):
    ingredient = INGREDIENTS[stage][key]
    parameters = inspect.signature(ingredient.load()).parameters.values()
    defaults = {own.name: own.default for own in parameters if own.default is not own.empty}
    assert defaults == {name: option.default for name, option in ingredient.options.items()}


def test_iloras_modes_are_the_papers_text_the_official_code_and_both_put_right():
    corrected, paper, official = (resolve("ilora", {"mode": mode}) for mode in ("corrected", "paper", "official"))
    assert resolve("ilora", {}) == corrected
    some, every = {"control_samples": 500}, {"control_samples": 0}
    assert corrected.options == some | {"rescale": False, "residual": "scaled", "control_scale": "scaffold", "deltas": True}
    assert paper.options == every | {"rescale": False, "residual": "plain", "control_scale": "official", "deltas": False}
    assert official.options == every | {"rescale": True, "residual": "plain", "control_scale": "official", "deltas": False}
    assert (corrected.scaling, paper.scaling, official.scaling) == (Scaling(1.0), Scaling(1.0), Scaling(16.0, "r"))
    assert corrected.ingredients == paper.ingredients == official.ingredients
    assert corrected.ingredients["aggregate"] == "concat-qr"


def test_the_users_option_wins_over_the_mode_and_the_users_scaling_over_both():
    recipe = resolve("ilora", {"mode": "official", "rescale": False}, 2.0)
    assert recipe.options["rescale"] is False
    assert recipe.options["residual"] == "plain"
    assert recipe.scaling == Scaling(2.0)


def test_swapping_an_ingredient_out_takes_its_options_with_it():
    assert "control_scale" not in resolve("ilora", {"correction": "none", "mode": "official"}).options
    with pytest.raises(ValueError, match=r"control_scale"):
        resolve("ilora", {"correction": "none", "control_scale": "official"})


@pytest.mark.parametrize(
    ("method", "options", "names"),
    [
        ("iloar", {}, "iloar"),
        ([], {}, "method"),
        ("ilora", {"mode": "fast"}, "mode"),
        ("ilora", {"mode": []}, "mode"),
        ("fedit", {"mode": "paper"}, "mode"),
        ("ilora", {"aggregate": "median"}, "aggregate"),
        ("ilora", {"aggregate": ["svd"]}, "aggregate"),
        ("ilora", {"rescale": 1}, "rescale"),
        ("ilora", {"rescale": "yes"}, "rescale"),
        ("ilora", {"control_scale": "big"}, "control_scale"),
        ("ilora", {"deltas": None}, "deltas"),
        ("ilora", {"lambda": 0.1}, "lambda"),
        ("fedit", {"deltas": True}, "deltas"),
    ],
)
def test_a_wrong_choice_is_one_sentence_with_the_name_and_what_is_allowed(method, options, names):
    with pytest.raises(ValueError, match=rf"{names}.*allowed are .*\.$|{names}.*has no modes\.$"):
        resolve(method, options)


def test_a_users_own_rule_is_a_method_like_the_others(monkeypatch):
    monkeypatch.setattr("ilora.methods.METHODS", METHODS.copy())
    monkeypatch.setitem(METHODS, "x", METHODS["fedit"])
    monkeypatch.delitem(METHODS, "x")

    def first(upload):
        """The first client's factors."""
        from ilora.lora.aggregation import Aggregate

        return Aggregate(upload.sent[0], upload.ideal, upload.scaling, upload.rank)

    monkeypatch.setitem(INGREDIENTS["aggregate"], "firstling", INGREDIENTS["aggregate"]["mean"])
    monkeypatch.delitem(INGREDIENTS["aggregate"], "firstling")
    ilora.register_method("firstling", Method(title="First"), aggregate=first)
    clients = draw_clients([3, 2], 6, 5)
    torch.testing.assert_close(ilora.aggregate("firstling", clients, [0.5, 0.5]).factors(2).A, clients[0][0][:2])
    with pytest.raises(ValueError, match="exists already"):
        ilora.register_method("firstling", Method(title="Again"))
    with pytest.raises(ValueError, match=r"aggregate 'stack' exists already; choose another key\.$"):
        ilora.register_method("stack", Method(title="A built-in one's key"), aggregate=first)
    with pytest.raises(ValueError, match=r"stage 'agregate' does not exist; allowed are"):
        ilora.register_method("other", Method(title="Typo"), agregate=first)

"""An experiment is checked when it is made, and is the same again from its JSON and from its URL."""

import json
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilora.checks import FieldError, setting, settings_of
from ilora.experiment import DEVICES, ENGINES, OPTIMIZERS, PRECISIONS, RANK_PROFILES, SKEWS, Experiment, profile_ranks
from ilora.methods import METHODS

make: Any = Experiment  # lists for tuples, floats for whole numbers, and worse: the checks are what is tested
some = settings(max_examples=150, deadline=None, derandomize=True)
OPTIONS = [("ilora", {}), ("ilora", {"mode": "official"}), ("ilora", {"aggregate": "svd", "rescale": True}), ("fedit", {}),
           ("flora", {"correction": "control-variates"}), ("flexlora", {"deltas": False})]  # fmt: skip


@st.composite
def experiments(draw):
    method, options = draw(st.sampled_from(OPTIONS))
    profile = draw(st.booleans())
    fields: dict[str, Any] = {
        "method": method,
        "options": options,
        "ranks": draw(st.sampled_from(list(RANK_PROFILES)) if profile else st.lists(st.integers(1, 64), min_size=1, max_size=9)),
        "skew": draw(st.sampled_from(list(SKEWS))),
        "alpha": draw(st.floats(0.001, 1000)),
        "shards": draw(st.integers(1, 100)),
        "noisy_clients": draw(st.integers(0, 1)),
        "participation": draw(st.floats(0.001, 1)),
        "rounds": draw(st.integers(1, 10_000)),
        "local_steps": draw(st.integers(0, 100_000)),
        "local_epochs": draw(st.one_of(st.none(), st.integers(1, 1000))),
        "batch_size": draw(st.integers(1, 4096)),
        "precision": draw(st.sampled_from(list(PRECISIONS))),
        "data": draw(st.sampled_from(["", "/tmp/with, comma", "~/glue"])),
        "optimizer": draw(st.sampled_from(list(OPTIMIZERS))),
        "lr": draw(st.floats(0, 10)),
        "scaling": draw(st.one_of(st.none(), st.floats(0.01, 100), st.sampled_from(["16/r", "8/sqrt(r)"]))),
        "targets": draw(st.lists(st.sampled_from(["query", "key", "mlp-in"]), unique=True)),
        "seed": draw(st.integers(0, 2**31 - 1)),
        "device": draw(st.sampled_from(DEVICES)),
        "engine": draw(st.sampled_from(list(ENGINES))),
    }  # fmt: skip
    if profile:
        fields["clients"] = draw(st.one_of(st.none(), st.integers(1, 1000)))
    return make(**fields)


@given(experiments())
@some
def test_json_gives_the_same_experiment_back(experiment):
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert Experiment.from_dict(json.loads(experiment.to_json())).to_json() == experiment.to_json()


@given(experiments())
@some
def test_a_url_gives_the_same_experiment_back(experiment):
    query = experiment.to_query()
    assert all(isinstance(name, str) and isinstance(text, str) for name, text in query.items())
    again = Experiment.from_query(query)
    assert again.recipe == experiment.recipe
    assert again == experiment


@pytest.mark.parametrize("scaling", [1, 2.0, "2", "0.5", "16/r", " 16 / sqrt(r) "])
def test_a_scaling_is_the_same_again_from_json_and_url_however_it_was_written(scaling):
    experiment = make(scaling=scaling)
    assert Experiment.from_json(experiment.to_json()) == experiment
    assert Experiment.from_query(experiment.to_query()) == experiment


def test_the_default_needs_no_query_and_foreign_parameters_are_ignored():
    assert make().to_query() == {}
    assert Experiment.from_query({"utm_source": "mail", "rounds": "3"}) == make(rounds=3)


def test_the_default_is_8_clients_of_ranks_2_to_16_at_alpha_0_3():
    experiment = make()
    assert experiment.client_ranks == (2, 4, 8, 16, 2, 4, 8, 16)
    assert (experiment.alpha, experiment.rounds, experiment.method) == (0.3, 15, "ilora")


@pytest.mark.parametrize("profile", RANK_PROFILES)
@pytest.mark.parametrize("clients", [1, 2, 17, 1000])
def test_a_profile_gives_every_client_a_rank(profile, clients):
    ranks = profile_ranks(profile, clients)
    assert len(ranks) == clients
    assert set(ranks) <= set(RANK_PROFILES[profile][1])
    assert make(ranks=profile, clients=clients).client_ranks == ranks


def test_one_giant_is_one():
    assert profile_ranks("one-giant", 5) == (16, 2, 2, 2, 2)


WRONG: list[tuple[str, Any]] = [
    ("task", "imagenet"), ("task", None), ("task", []), ("task", {}),
    ("method", "fedavg"), ("method", None), ("method", []),
    ("ranks", 0), ("ranks", []), ("ranks", [0]), ("ranks", [2, -1]), ("ranks", [65]), ("ranks", [2.5]), ("ranks", ["2"]),
    ("ranks", [True]), ("ranks", "random"), ("ranks", None), ("ranks", [None]), ("ranks", [math.nan]), ("ranks", [[2]]),
    ("ranks", [2] * 1001), ("ranks", {"a": 1}), ("ranks", [10**400]),
    ("clients", 0), ("clients", 1001), ("clients", -3), ("clients", 2.5), ("clients", "8"), ("clients", True),
    ("skew", "none"), ("skew", None), ("skew", []),
    ("alpha", 0), ("alpha", -1), ("alpha", math.nan), ("alpha", math.inf), ("alpha", "0.3"), ("alpha", None), ("alpha", True),
    ("alpha", 10**400),
    ("noisy_clients", -1), ("noisy_clients", 9), ("noisy_clients", 0.5), ("noisy_clients", True),
    ("shards", 0), ("shards", 1.5), ("shards", "x"),
    ("participation", 0), ("participation", 1.01), ("participation", math.nan), ("participation", "all"),
    ("rounds", 0), ("rounds", -1), ("rounds", 1.5), ("rounds", 10_001), ("rounds", math.inf), ("rounds", None),
    ("rounds", 10**400),
    ("local_steps", -1), ("local_steps", 0.5), ("batch_size", 0), ("batch_size", "16"), ("batch_size", 5000),
    ("optimizer", "adam"), ("optimizer", []), ("lr", -0.1), ("lr", math.nan), ("lr", 11), ("lr", "fast"), ("lr", [0.1]),
    ("scaling", 0), ("scaling", -1), ("scaling", math.nan), ("scaling", "alpha"), ("scaling", "16/k"), ("scaling", []),
    ("scaling", True), ("scaling", 10**400),
    ("backbone", "vit"), ("backbone", ["tiny-vit-letters"]), ("backbone", 1),
    ("local_epochs", 0), ("local_epochs", 1.5), ("local_epochs", "all"),
    ("adapter", 3), ("adapter", None), ("adapter", "a\nb"),
    ("data", 3), ("data", None), ("data", "a\nb"), ("data", "x" * 2000),
    ("targets", ["conv"]), ("targets", "query"), ("targets", [["query"]]), ("targets", [1]), ("targets", 3),
    ("seed", -1), ("seed", 2**31), ("seed", 0.5), ("seed", "x"), ("device", "tpu"), ("device", []), ("device", None),
    ("precision", "float8"), ("precision", []), ("engine", "flower"), ("engine", {}),
    ("options", None), ("options", [1]), ("options", "x"), ("options", {1: 2}), ("options", {"mode": "fast"}),
    ("options", {"mode": []}), ("options", {"aggregate": "sum"}), ("options", {"aggregate": []}), ("options", {"rescale": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG, ids=lambda value: repr(value)[:24])
def test_a_wrong_value_is_one_sentence_that_names_the_field_the_value_and_what_is_allowed(field, value):
    with pytest.raises(ValueError, match=r".") as error:
        make(**{field: value})
    sentence = str(error.value)
    inside = next(iter(value)) if field == "options" and isinstance(value, dict) else field
    assert str(inside) in sentence
    assert "allowed" in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 700
    assert isinstance(error.value, FieldError)
    assert error.value.field == (f"options.{inside}" if inside != field and isinstance(inside, str) else field)
    again = pickle.loads(pickle.dumps(error.value))
    assert (str(again), again.field, again.allowed) == (sentence, error.value.field, error.value.allowed)


@pytest.mark.parametrize("method", METHODS)
def test_every_wrong_value_is_refused_whatever_the_method(method):
    with pytest.raises(ValueError, match="rounds"):
        make(method=method, rounds=0)


def test_the_number_of_clients_and_of_ranks_must_agree():
    with pytest.raises(ValueError, match=r"^clients is 3; allowed: 2, the number of ranks given\.$"):
        make(ranks=[2, 4], clients=3)
    assert make(ranks=[2, 4], clients=2).clients == 2


def test_a_rank_is_bounded_by_the_smallest_layer_that_is_adapted():
    assert make(ranks=[64], targets=["mlp-in"]).client_ranks == (64,)
    with pytest.raises(ValueError, match=r"^ranks is 65; allowed: a whole number from 1 to 64\.$"):
        make(ranks=[65], targets=["mlp-in"])


def test_whole_numbers_may_come_as_floats_and_are_stored_as_whole_numbers():
    experiment = make(rounds=3.0, ranks=[2.0, 4.0])
    assert repr(experiment.rounds) == "3"
    assert repr(experiment.ranks) == "(2, 4)"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"rounds": "many"}, "rounds"), ({"rounds": ""}, "rounds"), ({"ranks": ""}, "ranks"), ({"ranks": "2,,4"}, "ranks"),
        ({"ranks": "2;4"}, "ranks"), ({"alpha": "nan"}, "alpha"), ({"alpha": "inf"}, "alpha"), ({"alpha": "1e999"}, "alpha"),
        ({"alpha": "9" * 400}, "alpha"), ({"alpha": "9" * 9000}, "alpha"), ({"seed": "0x10"}, "seed"), ({"lr": "None"}, "lr"),
        ({"options": "{"}, "options"), ({"options": "[]"}, "options"), ({"options": '{"mode": 1}'}, "mode"),
        ({"options": '{"mode": {}}'}, "mode"), ({"targets": ""}, "targets"), ({"targets": "query,"}, "targets"),
        ({"scaling": "r/2"}, "scaling"), ({"scaling": "9" * 400}, "scaling"), ({"clients": "-1"}, "clients"),
        ({"method": "<script>"}, "method"), ({"ranks": "9" * 400}, "ranks"), ({"options": "[" * 100_000}, "options"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_hand_edited_url_is_refused_by_field(query, field):
    with pytest.raises(ValueError, match=rf"\b{field}\b") as error:
        Experiment.from_query(query)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '{"rouns": 3}', '{"rounds": NaN}', '{"task": {}}', '{"ranks": [1e400]}', "[" * 100_000]
)
def test_a_damaged_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"allowed"):
        Experiment.from_json(text)


def test_replace_checks_again_and_keeps_the_rest():
    experiment = make(ranks=[2, 4], seed=5)
    assert experiment.replace(rounds=3).seed == 5
    assert experiment.replace(ranks=[2, 4, 6]).clients == 3
    assert experiment.replace(ranks="paper", clients=7).clients == 7
    with pytest.raises(ValueError, match="rounds"):
        experiment.replace(rounds=0)


def test_an_experiment_does_not_change_when_the_given_values_do():
    options, ranks = {"mode": "paper"}, [2, 4]
    experiment = make(options=options, ranks=ranks)
    options["mode"], ranks[0] = "official", 60
    assert experiment.options == {"mode": "paper"}
    assert experiment.ranks == (2, 4)


def test_an_ingredient_that_wants_equal_steps_refuses_epochs():
    with pytest.raises(ValueError, match=r"local_epochs .* allowed is None"):
        make(method="co-pfl", local_epochs=1)


def test_clients_can_be_left_out_but_not_all():
    experiment = Experiment(ranks=[2, 4, 8], left_out=[2, 0, 2])
    assert experiment.left_out == (0, 2)
    assert Experiment.from_query(experiment.to_query()) == experiment
    for wrong in ([3], [-1], [0, 1, 2], ["one"], 1):
        with pytest.raises(ValueError, match="left_out is"):
            Experiment(ranks=[2, 4, 8], left_out=wrong)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Longer(Experiment):
    """An experiment with fields of every plain kind that nobody but the declaration knows."""

    patience: int = setting(3, least=1, greatest=9, about="How many rounds without gain end a run.")
    momentum: float = setting(0.9, greatest=1, about="How much of the last step is in the next.")
    pause: int | None = setting(None, greatest=5, about="Rounds of rest.", empty="none")
    norm: str = setting("l2", choices={"l1": "sum", "l2": "root"}, about="Which norm.")
    note: str = setting("", about="A remark.")
    steps: Sequence[int] = setting((), about="A list of numbers.")
    names: Sequence[str] = setting((), about="A list of names.")
    extra: Mapping[str, Any] = setting({}, about="Anything.")


def test_a_new_field_needs_its_declaration_only():
    made = Longer(patience=4, momentum=0.5, pause=2, norm="l1", note="a, b", steps=[1, 2], names=["x"], extra={"y": 1})
    assert Longer.from_json(made.to_json()) == made
    assert Longer.from_query(made.to_query()) == made
    assert made.to_query().keys() == settings_of(Longer).keys() - settings_of(Experiment).keys()
    assert Longer().to_query() == {}
    assert made.extra is not Longer().extra
    wrong: dict[str, Any] = {
        "patience": 10,
        "momentum": 1.5,
        "pause": 6,
        "norm": "l3",
        "note": 1,
        "steps": "1",
        "names": {"x"},
        "extra": [1],
    }
    for name, value in wrong.items():
        with pytest.raises(FieldError) as error:
            Longer(**{name: value})
        assert (error.value.field, error.value.value) == (name, value)


def test_every_field_is_described():
    for name, own in settings_of(Experiment).items():
        assert own.about.endswith("."), name
        assert own.name == name
        assert own.check(own.default) == own.default
    assert list(settings_of(Experiment)) == [field.name for field in fields(Experiment)]


NUMBERS = {name: own for name, own in settings_of(Experiment).items() if own.kinds <= {int, float}}
SMALLEST: dict[str, Any] = {"clients": {"task": "sst2"}, "noisy_clients": {"task": "sst2", "clients": 1000}}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_bounds_that_are_described_are_those_that_are_checked(name):
    own, others = NUMBERS[name], SMALLEST.get(name, {})
    for bound, beyond in ((own.least, own.least - 1e-4), (own.greatest, own.greatest + 1e-4)):
        value = int(bound) if int in own.kinds else bound
        assert getattr(make(**others, **{name: value}), name) == value
        wrong = round(beyond + (-0.5 if beyond < bound else 0.5)) if int in own.kinds else beyond
        with pytest.raises(FieldError) as error:
            make(**others, **{name: wrong})
        assert error.value.allowed == own.allowed


@pytest.mark.parametrize("name", [name for name, own in settings_of(Experiment).items() if own.kinds == {str} and own.choices])
def test_the_choices_that_are_described_are_those_that_are_checked(name):
    with pytest.raises(FieldError) as error:
        make(**{name: "none of them"})
    assert error.value.allowed == ", ".join(settings_of(Experiment)[name].choices)


def test_numbers_and_lists_of_numpy_are_taken_as_pythons_own():
    given = make(
        rounds=np.int64(3), ranks=np.array([2, 4]), lr=np.float32(0.5), alpha=np.float64(0.25), left_out=np.array([1]),
        scaling=np.float32(2), options={"deltas": False, "aggregate": "svd"},
    )  # fmt: skip
    plain = make(rounds=3, ranks=[2, 4], lr=0.5, alpha=0.25, left_out=[1], scaling=2.0, options=given.options)
    assert given.to_json() == plain.to_json()
    assert make(ranks=range(1, 4)).client_ranks == (1, 2, 3)
    weighted: Any = {"mu": np.float32(0.5)}
    assert Experiment.from_json(make(method="fedprox", options=weighted).to_json()).options == {"mu": 0.5}


@pytest.mark.parametrize("wrong", [np.array(3), np.array([[2]]), np.array(["2"]), np.array([2.5]), np.array([True]), {2}, b"2"])
def test_what_is_no_list_of_ranks_is_refused_whoever_made_it(wrong):
    with pytest.raises(FieldError, match=r"^ranks is .*; allowed: "):
        make(ranks=wrong)
    with pytest.raises(FieldError, match=r"^rounds is .*; allowed: "):
        make(rounds=np.float32("nan"))

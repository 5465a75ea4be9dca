"""`ilora.aggregate`: one layer without training; compact and dense forms agree; every wrong input is one sentence."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ilora
from ilora.checks import FieldError
from ilora.lora.aggregation import relative
from tests.toy import dense, draw_clients, draw_weights, length

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "fedit": ("fedit", {}),
    "flora": ("flora", {}),
    "flexlora": ("flexlora", {}),
    "ilora": ("ilora", {}),
    "ilora pivoted": ("ilora", {"aggregate": "concat-pivoted-qr"}),
    "ilora paper": ("ilora", {"mode": "paper"}),
    "ilora official": ("ilora", {"mode": "official"}),
}
GOOD = draw_clients([2, 3], 8, 6)
some = settings(max_examples=30, deadline=None, derandomize=True)


@pytest.mark.parametrize("name", METHODS)
@given(ranks=st.lists(st.integers(1, 6), min_size=1, max_size=5), d_out=st.integers(6, 30), d_in=st.integers(6, 30))
@some
def test_float32_and_float64_factored_and_dense_give_the_same_update(name, ranks, d_out, d_in):
    method, options = METHODS[name]
    clients, p = draw_clients(ranks, d_out, d_in), draw_weights(len(ranks))
    got = ilora.aggregate(method, clients, p, **options)
    single = ilora.aggregate(method, [(A.float(), B.float()) for A, B in clients], p, **options)
    scale = length(dense(got.ideal)) + length(got.update())
    np.testing.assert_allclose(dense(got.update_factors()), got.update().numpy(), atol=1e-12 * scale)
    if name not in ("ilora pivoted", "flexlora"):  # a near tie may turn these, legitimately
        np.testing.assert_allclose(single.update().numpy(), got.update().numpy(), atol=2e-4 * scale)
    assert single.error == pytest.approx(got.error, abs=1e-4)
    assert single.update().dtype == torch.float32


@pytest.mark.parametrize("name", METHODS)
def test_the_error_is_the_relative_distance_between_update_and_ideal(name):
    method, options = METHODS[name]
    got = ilora.aggregate(method, GOOD, [0.25, 0.75], **options)
    s = 16.0 if name == "ilora official" else None
    want = sum(w * (s / A.shape[0] if s else 1.0) * dense((A, B)) for w, (A, B) in zip([0.25, 0.75], GOOD, strict=True))
    distance = length(got.update().numpy() - want) / length(want)
    assert got.error == pytest.approx(distance, abs=1e-10)


@pytest.mark.parametrize("name", METHODS)
def test_a_larger_server_rank_gives_factors_of_that_rank_and_never_a_larger_error_for_product_rules(name):
    method, options = METHODS[name]
    small, large = (ilora.aggregate(method, GOOD, [0.5, 0.5], rank=rank, **options) for rank in (3, 6))
    if not large.merge:
        assert large.factors(6).A.shape == (6, 6)
        assert large.factors(6).B.shape == (8, 6)
    if method != "fedit" and name != "ilora official":
        assert large.error <= small.error + 1e-12


def test_one_client_alone_is_returned_exactly():
    for method, options in METHODS.values():
        got = ilora.aggregate(method, GOOD[1:], [1.0], scaling=1.0, **options)
        assert got.error < 1e-12
        np.testing.assert_allclose(got.update().numpy(), dense(GOOD[1]), atol=1e-12)


def test_a_client_of_weight_zero_counts_for_nothing():
    for method, options in METHODS.values():
        with_it = ilora.aggregate(method, GOOD, [0.0, 1.0], **options).update()
        torch.testing.assert_close(with_it, ilora.aggregate(method, GOOD[1:], [1.0], **options).update())


def test_weights_may_be_a_list_an_array_or_a_tensor_and_nothing_given_is_changed():
    before = [(A.clone(), B.clone()) for A, B in GOOD]
    kinds: list[Any] = [[0.5, 0.5], np.array([0.5, 0.5]), torch.tensor([0.5, 0.5])]
    for weights in kinds:
        ilora.aggregate("ilora", GOOD, weights)
    assert all(torch.equal(x, y) for pair, same in zip(GOOD, before, strict=True) for x, y in zip(pair, same, strict=True))


def test_zero_factors_are_no_error_and_no_update():
    zero = [(torch.zeros(2, 6), torch.zeros(8, 2))] * 2
    for method, options in METHODS.values():
        got = ilora.aggregate(method, zero, [0.5, 0.5], **options)
        assert got.error == 0
        assert not got.update().any()


def test_nothing_lost_of_nothing_is_no_error():
    assert relative(0.0, 0.0) == 0
    assert relative(1.0, 0.0) == float("inf")
    assert relative(1.0, 4.0) == 0.25


def nested(common: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Clients of ranks 1, 3 and 5 that hold the first slots of one A, or of one B."""
    clients = draw_clients([1, 3, 5], 8, 6)
    A, B = clients[2]
    return [(A[:r], own[1]) if common == "A" else (own[0], B[:, :r]) for r, own in zip([1, 3, 5], clients, strict=True)]


@pytest.mark.parametrize("rank", [5, 6])
@pytest.mark.parametrize(
    ("method", "common"),
    [("ffa-lora", "A"), ("aflora", "A"), ("rolora", "A"), ("rolora", "B"), ("lora-a2", "A"), ("lora-a2", "B")],
)
def test_a_factor_that_a_method_leaves_alone_is_not_diluted_by_clients_that_hold_less_of_it(method, common, rank):
    clients = nested(common)
    got = ilora.aggregate(method, clients, [0.2, 0.3, 0.5], rank=rank)
    want = sum(p * dense(pair) for p, pair in zip([0.2, 0.3, 0.5], clients, strict=True))
    np.testing.assert_allclose(got.update().numpy(), want, atol=1e-12)
    assert ilora.aggregate("fedit", clients, [0.2, 0.3, 0.5]).error > 0.01  # which sends and pads both


def test_a_full_rank_server_that_held_nothing_holds_all_that_was_learned():
    clients = draw_clients([1, 2, 3], 8, 6)
    got = ilora.aggregate("fedhl", clients, [0.2, 0.3, 0.5])
    assert got.error < 1e-12
    U, S, Vh = np.linalg.svd(got.update().numpy())
    np.testing.assert_allclose(dense(got.factors(2)), (U[:, :2] * S[:2]) @ Vh[:2], atol=1e-12)


@pytest.mark.parametrize("offsets", [None, draw_clients([2, 3], 8, 6, seed=1)], ids=["whole", "over offsets"])
@pytest.mark.parametrize("method", [key for key, method in ilora.METHODS.items() if not method.personalised])
def test_a_larger_server_rank_is_empty_slots_more_for_every_method(method, offsets):
    got, small = (ilora.aggregate(method, GOOD, [0.5, 0.5], rank=rank, offsets=offsets) for rank in (6, 3))
    assert got.error <= small.error + 1e-9 or small.scaled_factor == ""
    if not got.merge:
        assert (got.factors(6).A.shape, got.factors(6).B.shape) == ((6, 6), (8, 6))
    if small.scaled_factor == "":
        torch.testing.assert_close(got.update(), small.update())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64])
@pytest.mark.parametrize("method", ["ilora", "fedit", "flexlora", "lora-fair", "raflora", "florist"])
def test_factors_that_cannot_be_factorised_in_their_precision_are_summed_in_float32(method, dtype):
    clients = [((4 * A).to(dtype), (4 * B).to(dtype)) for A, B in GOOD]
    got = ilora.aggregate(method, clients, [0.25, 0.75])
    exact = ilora.aggregate(method, [(A.float(), B.float()) for A, B in clients], [0.25, 0.75])
    assert got.update().dtype == torch.float32
    torch.testing.assert_close(got.update(), exact.update())


def test_a_single_double_among_the_factors_makes_it_all_double():
    mixed = [(GOOD[0][0].float(), GOOD[0][1]), (GOOD[1][0].float(), GOOD[1][1].float())]
    assert ilora.aggregate("ilora", mixed, [0.5, 0.5]).update().dtype == torch.float64


@pytest.mark.parametrize(
    "options", [{"aggregate": "concat-pivoted-qr"}, {"aggregate": "corrected-mean", "form": "iterative"}], ids=str
)
def test_parameters_straight_from_training_are_taken_with_and_without_gradients(options):
    parameters = [(A.clone().requires_grad_(), B.clone().requires_grad_()) for A, B in GOOD]
    want = ilora.aggregate("fedit", GOOD, [0.5, 0.5], **options).update()
    torch.testing.assert_close(ilora.aggregate("fedit", parameters, [0.5, 0.5], **options).update().detach(), want)
    with torch.no_grad():
        torch.testing.assert_close(ilora.aggregate("fedit", parameters, [0.5, 0.5], **options).update(), want)


def test_the_iterative_correction_of_nothing_is_nothing():
    zero = [(torch.ones(2, 6), torch.zeros(8, 2))] * 2
    assert not ilora.aggregate("lora-fair", zero, [0.5, 0.5], form="iterative").update().any()


@pytest.mark.parametrize("rank", [-1, 0, 4])
def test_no_client_has_a_rank_that_the_server_lacks(rank):
    with pytest.raises(ValueError, match=rf"^rank is {rank}; allowed is a whole number from 1 to 3, the server's\.$"):
        ilora.aggregate("ilora", GOOD, [0.5, 0.5]).factors(rank)


A, B = GOOD[0]
WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "no clients": ("factors", {"factors": []}),
    "rank differs between A and B": ("factors", {"factors": [(A, B[:, :1])]}),
    "another width": ("factors", {"factors": [GOOD[0], (GOOD[1][0][:, :5], GOOD[1][1])]}),
    "another height": ("factors", {"factors": [GOOD[0], (GOOD[1][0], GOOD[1][1][:5])]}),
    "rank 0": ("factors", {"factors": [(A[:0], B[:, :0])] * 2}),
    "a vector": ("factors", {"factors": [(A[0], B[:, 0])] * 2}),
    "a number": ("factors", {"factors": [(A[0, 0], B[0, 0])] * 2}),
    "NaN in a factor": ("factors", {"factors": [GOOD[0], (GOOD[1][0] * float("nan"), GOOD[1][1])]}),
    "infinity in a factor": ("factors", {"factors": [GOOD[0], (GOOD[1][0] * float("inf"), GOOD[1][1])]}),
    "A without B": ("factors", {"factors": [(A,), (A,)]}),
    "arrays": ("factors", {"factors": [(A.numpy(), B.numpy())] * 2}),
    "complex numbers": ("factors", {"factors": [(A + 0j, B + 0j)] * 2}),
    "one weight too few": ("weights", {"weights": [1.0]}),
    "weights that sum to 2": ("weights", {"weights": [1.0, 1.0]}),
    "a negative weight": ("weights", {"weights": [1.5, -0.5]}),
    "a NaN weight": ("weights", {"weights": [float("nan"), 1.0]}),
    "a word for a weight": ("weights", {"weights": ["half", "half"]}),
    "no weights": ("weights", {"weights": None}),
    "rank below a client's": ("rank", {"rank": 2}),
    "rank above the layer": ("rank", {"rank": 7}),
    "half a rank": ("rank", {"rank": 3.5}),
    "a word for a rank": ("rank", {"rank": "4"}),
    "unknown method": ("method", {"method": "fedavg"}),
    "unknown option": ("speed", {"speed": 3}),
    "unknown mode": ("mode", {"mode": "fast"}),
    "unknown ingredient": ("aggregate", {"aggregate": "median"}),
    "scaling zero": ("scaling", {"scaling": 0}),
    "scaling NaN": ("scaling", {"scaling": float("nan")}),
    "scaling a formula": ("scaling", {"scaling": "r/16"}),
    "offsets of other ranks": ("offsets", {"offsets": GOOD[::-1]}),
    "offsets for one client only": ("offsets", {"offsets": GOOD[:1]}),
    "offsets of another layer": ("offsets", {"offsets": draw_clients([2, 3], 5, 6)}),
    "no offsets at all": ("offsets", {"offsets": []}),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_one_sentence_that_names_the_field(case):
    field, change = WRONG[case]
    good: dict[str, Any] = {"method": "ilora", "factors": GOOD, "weights": [0.5, 0.5]}
    with pytest.raises(FieldError, match=rf"\b{field}\b.*allowed.*\.$") as error:
        ilora.aggregate(**(good | change))
    assert "\n" not in str(error.value)
    assert error.value.field.removeprefix("options.").partition("[")[0] == field

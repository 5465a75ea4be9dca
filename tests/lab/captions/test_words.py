"""The words of all sentences: shares, lists and names, also at the edges."""

import pytest

from ilora.lab.captions.words import client_name, clients_named, layer_names, listed, percent, share


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0 %"), (0.0004, "0 %"), (0.0006, "0.1 %"), (0.0949, "9.5 %"), (0.096, "10 %"), (0.5, "50 %"), (1.2, "120 %")],
)
def test_a_small_share_keeps_a_decimal_and_no_share_is_magnified_rounding(value, text):
    assert percent(value) == text


def test_decimals_can_be_said():
    assert (percent(0.0425, 0), percent(0.5, 1)) == ("4 %", "50.0 %")


@pytest.mark.parametrize(
    ("value", "text"),
    [(float("nan"), "an unknown share"), (1e-6, "nothing"), (1e-4, "less than 0.1 %"), (0.02, "2.0 %"), (0.3, "30 %")],
)
def test_words_stand_where_a_number_would_mislead(value, text):
    assert share(value) == text


def test_lists_read_as_in_a_sentence():
    assert [listed(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["none", "a", "a and b", "a, b and c"]
    assert [clients_named(k) for k in ((), (2,), (4, 0, 2))] == ["no client", "client 3", "clients 1, 3 and 5"]


def test_names_are_short_where_they_stay_different():
    assert layer_names(["a.layers.0.attention.q_proj", "a.layers.1.attention.v_proj"]) == {
        "a.layers.0.attention.q_proj": "block 1 query",
        "a.layers.1.attention.v_proj": "block 2 value",
    }
    clash = ["a.0.x.query", "b.0.x.query"]
    assert layer_names(clash) == dict(zip(clash, clash, strict=True))
    assert client_name(2, 8) == "client 3 (rank 8)"

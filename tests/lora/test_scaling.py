"""The scaling s_k: a number, alpha / r or alpha / sqrt(r); written and read back the same; anything else is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilora.lora.scaling import Scaling


@pytest.mark.parametrize(
    ("text", "rank", "s"),
    [(1.0, 7, 1.0), (2, 7, 2.0), ("16/r", 2, 8.0), ("16/r", 6, 16 / 6), (" 16 / sqrt(r) ", 4, 8.0), ("0.5", 3, 0.5)],
)
def test_the_formula_gives_the_number(text, rank, s):
    assert Scaling.parse(text)(rank) == pytest.approx(s)


@given(st.floats(1e-3, 1e3), st.sampled_from(["", "r", "sqrt(r)"]))
def test_what_is_printed_is_read_back(alpha, over):
    alpha = float(f"{alpha:g}")
    assert Scaling.parse(str(Scaling(alpha, over))) == Scaling(alpha, over)


@pytest.mark.parametrize(
    "wrong",
    [0, -1, float("nan"), float("inf"), "", "r", "16/k", "/r", "16/", "-16/r", "0/r", "1e999/r", None, [], {}, True, 10**400],
    ids=lambda wrong: repr(wrong)[:12],
)
def test_anything_else_is_refused_in_one_sentence(wrong):
    with pytest.raises(ValueError, match=r"^scaling is .*; allowed are .*\.$"):
        Scaling.parse(wrong)

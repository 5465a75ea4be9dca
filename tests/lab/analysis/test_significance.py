"""Comparing over seeds: intervals and tests are scipy's, Holm's steps are Holm's, and nobody on the front is beaten."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ilora.lab.analysis.significance import differences, dominators, holm, interval, over_seeds, paired_p

SCORES = {"a": [0.8, 0.9, 0.85, 0.7], "b": [0.78, 0.86, 0.84, 0.66], "c": [0.5, 0.9, 0.4, 0.8]}


def test_the_mean_and_its_band_are_of_the_rounds_that_all_seeds_have():
    tables = [pd.DataFrame({"index": range(1, n + 1), "loss": np.arange(n) + float(n)}) for n in (3, 2, 4)]
    mean, half = over_seeds(tables)
    assert mean["index"].tolist() == [1, 2]
    for place in (0, 1):
        assert (mean["loss"][place], half["loss"][place]) == pytest.approx(interval([t["loss"][place] for t in tables]))


def test_one_seed_is_its_own_mean_without_a_band():
    table = pd.DataFrame({"index": [1, 2], "loss": [0.5, 0.25]})
    mean, half = over_seeds([table])
    pd.testing.assert_frame_equal(mean, table)
    assert half["loss"].isna().all()


def test_a_p_value_is_that_of_scipys_paired_test():
    for other in ("b", "c"):
        gaps = np.subtract(SCORES["a"], SCORES[other])
        assert paired_p(gaps) == pytest.approx(stats.ttest_rel(SCORES["a"], SCORES[other]).pvalue)
    assert paired_p(np.zeros(3)) == 1
    assert paired_p(np.ones(3)) == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_holms_values_are_those_of_its_definition(p):
    ordered = sorted(range(len(p)), key=lambda i: p[i])
    want, running = {}, 0.0
    for place, i in enumerate(ordered):
        running = max(running, (len(p) - place) * p[i])
        want[i] = min(1.0, running)
    assert holm(p) == pytest.approx([want[i] for i in range(len(p))])


@pytest.mark.parametrize("higher", [True, False])
def test_the_leader_stands_against_every_other_and_the_nearest_comes_first(higher):
    found = differences(SCORES, higher)
    assert {found[0].leader} == {"a" if higher else "c"} == {difference.leader for difference in found}
    assert all(difference.mean >= 0 for difference in found)
    assert [difference.mean for difference in found] == sorted(difference.mean for difference in found)
    assert all(d.p >= paired_p(np.subtract(SCORES[d.leader], SCORES[d.other])) for d in found)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_a_point_is_beaten_exactly_where_another_is_no_worse_in_both_and_better_in_one(points, first, second):
    sign = np.array([1 if first else -1, 1 if second else -1])
    gains = sign * np.array(points)
    for i, by in enumerate(dominators(np.array(points, float), (first, second))):
        beats = [(gains[j] >= gains[i]).all() and (gains[j] > gains[i]).any() for j in range(len(points))]
        assert beats[by] if by is not None else not any(beats)

"""Every limit names a place that exists, so that a reader can go and look."""

import pytest

from ilora.lab.content.limits import LIMITS
from ilora.lab.content.source import source_of
from tests.conftest import ROOT

ALL = [limit for group in LIMITS.values() for limit in group]


@pytest.mark.parametrize("limit", ALL, ids=lambda limit: limit.where)
def test_the_place_of_a_limit_exists(limit):
    path, _, name = limit.where.partition(":")
    assert (ROOT / path).is_file()
    if name:
        assert source_of(f"{path.removesuffix('.py').replace('/', '.').removesuffix('.__init__')}:{name}")
    assert limit.text.endswith(".")


def test_no_two_limits_have_one_title():
    assert len({limit.title for limit in ALL}) == len(ALL)

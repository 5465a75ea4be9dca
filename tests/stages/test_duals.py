"""The memory of duals: the best low-rank approximation of every product, and an honest count of what it cuts."""

import numpy as np
import pytest
import torch

from ilora.lora.factors import Stack
from ilora.stages.duals import recompress
from tests.toy import best, length


@pytest.mark.parametrize(
    ("d_out", "d_in", "slots", "cap"), [(9, 7, 3, 2), (9, 7, 5, 5), (4, 6, 11, 3), (6, 6, 6, 1), (5, 3, 9, 3)]
)
def test_recompression_is_the_truncated_svd_and_counts_what_it_cuts(d_out, d_in, slots, cap):
    random = torch.Generator().manual_seed(0)
    A, B = torch.randn(3, slots, d_in, generator=random).double(), torch.randn(3, d_out, slots, generator=random).double()
    kept, cut = recompress(Stack(A, B, (slots,) * 3), cap)
    assert kept.A.shape[1] == cap
    for k, dense in enumerate((B @ A).numpy()):
        found = (kept.B[k] @ kept.A[k]).numpy()
        np.testing.assert_allclose(found, best(dense, cap), atol=1e-10)
        assert float(cut[k]) == pytest.approx(length(dense - found), abs=1e-10)


def test_nothing_stays_exactly_nothing():
    kept, cut = recompress(Stack(torch.ones(2, 4, 6), torch.zeros(2, 5, 4), (4, 4)), 3)
    assert not (kept.B @ kept.A).any()
    assert not cut.any()

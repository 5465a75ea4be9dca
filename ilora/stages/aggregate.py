"""Stage 7: how do many updates become one, and what does a client of rank r get back?

A rule maps one layer's Upload to an Aggregate. It never sees a model.
"""

from ilora import products
from ilora.adapters import Factors
from ilora.aggregation import Aggregate, Upload


def mean(upload: Upload) -> Aggregate:
    """A = sum_k p_k pad(A_k), B = sum_k p_k pad(B_k) (FedIT, arXiv:2305.05644, zero-padded for mixed ranks).

    Its product misses the ideal update by sum_k p_k (B_k - B)(A_k - A).
    """
    p = upload.weights[:, None, None]
    A, B = (p * upload.sent.A).sum(0), (p * upload.sent.B).sum(0)
    bank = Factors(A, B).pad(upload.rank)
    return Aggregate(bank, upload.ideal, upload.scaling, upload.rank, offset=upload.server_offset)


def stack(upload: Upload) -> Aggregate:
    """A_c = [p_k s_k A_k], B_c = [B_k], merged into everyone's base (FLoRA, arXiv:2409.05976, eq. 5)."""
    return Aggregate(upload.learned(), upload.ideal, upload.scaling, upload.rank, carrier="A", merge=True)


def truncated_svd(upload: Upload, deltas: bool = True) -> Aggregate:
    """sum_k p_k s_k B_k A_k = U S V^T; B = U S / s, A = V^T, the first r slots each (FlexLoRA, arXiv:2402.11505)."""
    U, S, V = products.svd(_summed(upload, deltas), upload.rank)
    return _factorised(upload, Factors(V.T, U * S), "B", deltas)


def concatenated_qr(upload: Upload, deltas: bool = True) -> Aggregate:
    """[B_1 ... B_K] [p_1 A_1; ...; p_K A_K] = Q R; B = Q[:, :r], A = R[:r] (ILoRA, arXiv:2511.16069)."""
    return _factorised(upload, products.qr(_summed(upload, deltas), upload.rank), "A", deltas)


def concatenated_pivoted_qr(upload: Upload, deltas: bool = True) -> Aggregate:
    """As `concatenated_qr`, the columns that carry most first (ours: the cut no longer depends on the order of inputs)."""
    return _factorised(upload, products.pivoted_qr(_summed(upload, deltas), upload.rank), "A", deltas)


def _summed(upload: Upload, deltas: bool) -> Factors:
    """The exact sum: of what was learned (`deltas`), or of the raw factors with the initial product still in them."""
    return upload.learned() if deltas else upload.stacked()


def _factorised(upload: Upload, bank: Factors, carrier: str, deltas: bool) -> Aggregate:
    if deltas:
        return Aggregate(bank, upload.ideal, upload.scaling, upload.rank, carrier)
    return Aggregate(bank, upload.ideal, upload.scaling, upload.rank, offset=upload.server_offset)

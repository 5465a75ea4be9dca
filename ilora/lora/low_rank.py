"""Matrices that are products of thin factors: norms, inner products, QR and SVD at the cost of the factors.

Where the factors are no thinner than the matrix, the dense matrix is formed instead: it is cheaper then.
"""

import torch
from torch import Tensor

from ilora.lora.factors import Factors


def add(*terms: Factors) -> Factors:
    """The sum of the products as one pair of factors, the slots side by side."""
    return compact(Factors(torch.cat([term.A for term in terms]), torch.cat([term.B for term in terms], dim=1)))


def difference(X: Factors, Y: Factors) -> Factors:
    """X - Y as one pair of factors."""
    return add(X, Y.times(-1.0))


def compact(X: Factors) -> Factors:
    """The same product with at most min(d_out, d_in) slots: past that the dense matrix is its own thinner factor."""
    d_out, d_in = X.B.shape[0], X.A.shape[1]
    if X.rank <= min(d_out, d_in):
        return X
    dense = X.product()
    if d_out <= d_in:
        return Factors(dense, torch.eye(d_out).to(dense))
    return Factors.dense(dense)


def is_thin(X: Factors) -> bool:
    """Whether the factored form costs less than the dense matrix: its QR takes O((d_out + d_in) rho^2)."""
    d_out, d_in = X.B.shape[0], X.A.shape[1]
    return X.rank < min(d_out, d_in)


def inner(X: Factors, Y: Factors) -> Tensor:
    """<X, Y>_F = tr((B_x^T B_y)(A_y A_x^T)), the Gram identity."""
    return ((X.B.T @ Y.B) * (X.A @ Y.A.T)).sum()


def norm(X: Factors) -> float:
    """||B A||_F, through the small triangle of B: no cancellation, unlike a sum of Gram terms."""
    if X.rank == 0:
        return 0.0
    if not is_thin(X):
        return float(torch.linalg.matrix_norm(X.product()))
    return float(torch.linalg.matrix_norm(torch.linalg.qr(X.B, mode="r").R @ X.A))


def signed_qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The reduced QR of a matrix with diag(R) >= 0, which makes it unique."""
    Q, R = torch.linalg.qr(matrix)
    sign = torch.where(torch.diagonal(R) < 0, -1.0, 1.0).to(R)
    return Q * sign, R * sign[:, None]


def qr(X: Factors, rank: int) -> Factors:
    """B A = Q R without pivoting, diag(R) >= 0, with at least `rank` slots: Q as B (d_out, .), R as A (., d_in).

    Thin factors: B = Q_b R_b and R_b A = Q_2 R give Q = Q_b Q_2. Empty slots get orthonormal columns of Q
    and zero rows of R, as the dense QR has them, so that they can still learn.
    """
    padded = X.pad(rank)
    if not is_thin(X):
        Q, R = signed_qr(X.product())
        return Factors(R, Q)
    Q_b, R_b = torch.linalg.qr(padded.B)
    Q_2, R = signed_qr(R_b @ padded.A)
    return Factors(R, Q_b @ Q_2)


def pivoted_qr(X: Factors, rank: int) -> Factors:
    """B A = Q R P^T, the columns that carry most first: Q as B, R P^T as A, with at least `rank` slots."""
    padded = X.pad(rank)
    if not is_thin(X):
        Q_b, core = None, X.product()
    else:
        Q_b, R_b = torch.linalg.qr(padded.B)
        core = R_b @ padded.A
    order = _pivots(core)
    Q, R = signed_qr(core[:, order])
    A = torch.empty_like(R)
    A[:, order] = R
    return Factors(A, Q if Q_b is None else Q_b @ Q)


def _pivots(core: Tensor) -> Tensor:
    from scipy.linalg import qr as scipy_qr

    return torch.from_numpy(scipy_qr(core.detach().double().cpu().numpy(), mode="r", pivoting=True)[1]).long().to(core.device)


def svd(X: Factors, rank: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """U (d_out, m), S (m,), V (d_in, m) of B A with m >= `rank` where the matrix allows, empty slots orthonormal and zero."""
    return raw_svd(X.pad(rank) if is_thin(X) else X)


def raw_svd(X: Factors) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V of B A through two thin QRs and a small SVD, or of the dense matrix where the factors are no thinner."""
    if not is_thin(X):
        U, S, Vh = torch.linalg.svd(X.product(), full_matrices=False)
        return U, S, Vh.T
    Q_b, R_b = torch.linalg.qr(X.B)
    Q_a, R_a = torch.linalg.qr(X.A.T)
    U, S, Vh = torch.linalg.svd(R_b @ R_a.T)
    return Q_b @ U, S, Q_a @ Vh.T

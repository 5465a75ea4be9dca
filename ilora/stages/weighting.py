"""Stage 6: how much does a client count? An ingredient maps the clients' sample counts (K,) to weights p (K,) that sum to 1."""

from torch import Tensor


def samples(counts: Tensor) -> Tensor:
    """p_k = n_k / sum n (FedAvg)."""
    return counts / counts.sum()

"""Stage 6: how much does a client count? An ingredient maps the turn to weights p (C,) that sum to 1."""

from torch import Tensor

from ilora.turn import Turn


def samples(turn: Turn) -> Tensor:
    """p_k = n_k / sum n (FedAvg)."""
    return turn.counts / turn.counts.sum()

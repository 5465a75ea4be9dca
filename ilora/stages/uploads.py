"""Stage 5: what happens to the factors before they leave? An ingredient maps the turn to the parameters that are sent."""

import torch
from torch import Tensor

from ilora.stacked import Parameters
from ilora.turn import Turn


def as_is(turn: Turn) -> Parameters:
    """Send what was trained."""
    return turn.result


def rotate(turn: Turn, soft: float = 0.5) -> Parameters:
    """Turn every client's slots towards the factors it received; its product stays the same (FedRot-LoRA, arXiv:2602.23638).

    A is aligned in even rounds, B in odd ones, none in the first. `soft` = 1 is the full rotation, 0 none.
    """
    sent = dict(turn.result)
    for layer in turn.layers if turn.index > 1 else ():
        A, B = sent[f"{layer}.A"].clone(), sent[f"{layer}.B"].clone()
        for k, r in enumerate(turn.ranks):
            if turn.index % 2 == 0:
                M = A[k, :r] @ turn.start[f"{layer}.A"][k, :r].T
            else:
                M = B[k, :, :r].T @ turn.start[f"{layer}.B"][k, :, :r]
            R = rotation(M, soft)
            A[k, :r], B[k, :, :r] = R.T @ A[k, :r], B[k, :, :r] @ R
        sent[f"{layer}.A"], sent[f"{layer}.B"] = A, B
    return sent


def rotation(M: Tensor, soft: float) -> Tensor:
    """The rotation R = U V^T of M = U S V^T (r, r), without reflection, `soft` of the way from the identity to it."""
    U, _, Vh = torch.linalg.svd(M)
    if soft >= 1:
        return U @ Vh
    if torch.det(U @ Vh) < 0:
        U = torch.cat([U[:, :-1], -U[:, -1:]], 1)
    U, _, Vh = torch.linalg.svd((1 - soft) * torch.eye(len(M)).to(M) + soft * U @ Vh)
    return U @ Vh

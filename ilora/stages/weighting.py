"""Stage 6: how much does a client count? An ingredient maps the server's view to weights p (C,) that sum to 1.

What the server cannot know, a client reports: one number.
"""

import torch
from torch import Tensor

from ilora import diagnostics
from ilora.lora import low_rank
from ilora.lora.aggregation import weighted_update
from ilora.stages.context import ClientView, RunSetting, ServerView
from ilora.stages.stage import Stage
from ilora.training.client_model import Parameters


def samples(server: ServerView) -> Tensor:
    """p_k = n_k / sum n (FedAvg)."""
    return server.share


class UpdateNorm(Stage):
    """p_k = S_k / sum S with S_k = ||Delta W_k||_F over all layers (HetLoRA, arXiv:2401.06432, sparsity-weighted aggregation).

    S_k is measured and reported by the client, before it gives any slot up.
    """

    def __init__(self, setting: RunSetting) -> None:
        pass

    def end(self, view: ClientView) -> Parameters:
        """S_k (C,)."""
        squares = torch.zeros(len(view.ids), device=view.setting.device)
        for layer in view.layers:
            squares += diagnostics.norms(view.stack(view.result, layer)).square() * view.base.scales.square()
        return {"norm": squares.sqrt()}

    def __call__(self, server: ServerView) -> Tensor:
        """The weights (C,); those of the samples where nobody has moved."""
        size = self.reported(server)["norm"]
        return size / size.sum() if size.sum() > 0 else samples(server)


def rank_aware(server: ServerView) -> Tensor:
    """p_k = n_k r_k / sum n r (AFLoRA, arXiv:2505.24773; the form is ours)."""
    share = server.counts * server.budget
    return share / share.sum()


def uniform(server: ServerView) -> Tensor:
    """p_k = 1/C."""
    return torch.full_like(server.counts, 1 / len(server.ids))


def inverse_truncation(server: ServerView, floor: float = 0.1) -> Tensor:
    """p_k ~ 1 / (e_k + floor), e_k = ||W_t - W_{t,k}||_F^2 / ||G_t||_F^2 what rank r_k could not hold of the server's model.

    Our reading of FedHL (arXiv:2505.18494), which chooses p to shrink a bound on the drift that truncation causes. The same
    for all while the server holds nothing; who holds everything counts at most 1 / floor.
    """
    errors, size = torch.zeros(len(server.ids)), 0.0
    for layer in server.layers:
        start, offset = server.stack(server.start, layer), server.base.offsets.get(layer)
        whole = server.server_update(layer)
        size += low_rank.norm(whole) ** 2
        for k in range(len(server.ids)):
            own = weighted_update(start, torch.eye(len(start))[k], server.setting.scaling, offset)
            errors[k] += low_rank.norm(low_rank.difference(whole, own)) ** 2
    p = 1 / (errors.to(server.counts) / max(size, 1e-12) + floor)
    return p / p.sum()

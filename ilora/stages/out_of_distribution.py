"""Samples and clients weighed by how strange they look to the received model (FLood, arXiv:2602.01039, a reconstruction).

A tension on purpose: inside a client strange samples count more, and a client full of strange samples counts less.
"""

import torch
from torch import Tensor

from ilora.stages.context import ClientView, RunSetting, ServerView
from ilora.stages.objectives import cross_entropy, per_sample
from ilora.stages.stage import Stage
from ilora.stages.weighting import samples
from ilora.training.client_model import Parameters
from ilora.training.local_work import Step

BEHIND = 2**40  # an index behind that of every sample


def strangeness(logits: Tensor, detector: str) -> Tensor:
    """How far out of distribution each sample looks, (n, C) -> (n,): its energy -log sum_c e^{z_c}, or -max softmax (msp)."""
    return -logits.logsumexp(-1) if detector == "energy" else -logits.softmax(-1).amax(-1)


def sample_weights(score: Tensor, form: str, quantile: float, beta: float, kappa: float) -> Tensor:
    """w_i = 1 + beta sigmoid(kappa z_i), z the scores of one client standardised, or 1 + beta [z_i > quantile] ("hard")."""
    z = (score - score.mean()) / score.std(unbiased=False).clamp_min(1e-6)
    tail = (kappa * z).sigmoid() if form == "soft" else (z > z.quantile(quantile)).to(z)
    w = 1 + beta * tail
    return w / w.mean()


class PseudoOut(Stage):
    """F_k = mean_i w_i CE_i, the samples that look strange to the received model weighing more; after `warmup` rounds."""

    def __init__(
        self,
        setting: RunSetting,
        detector: str = "energy",
        form: str = "soft",
        quantile: float = 0.75,
        beta: float = 1.0,
        kappa: float = 1.0,
        warmup: int = 3,
    ) -> None:
        self.detector, self.warmup = detector, warmup
        self.shape = (form, quantile, beta, kappa)

    def begin(self, view: ClientView) -> Parameters:
        """Every sample's weight (C, n), beside the sorted indices of the samples, padded behind."""
        if view.index <= self.warmup:
            return {}
        ids, weights = [], []
        for own, logits in zip(view.samples, view.local_logits, strict=True):
            order = own.argsort()
            ids.append(own[order])
            weights.append(sample_weights(strangeness(logits, self.detector), *self.shape)[order])
        pad = torch.nn.utils.rnn.pad_sequence
        return {"samples": pad(ids, batch_first=True, padding_value=BEHIND), "weights": pad(weights, batch_first=True)}

    def __call__(self, step: Step) -> Tensor:
        """The weighed loss of each client (K,)."""
        if not step.given:
            return cross_entropy(step)
        place = torch.searchsorted(step.given["samples"], step.index.contiguous())
        return (step.given["weights"].gather(1, place) * per_sample(step)).mean(1)


class Confidence(Stage):
    """p_k ~ n_k exp((c_k - mean c) / (std c * gentleness)), c_k how ordinary its samples look to the received model.

    c_k is measured and reported by the client, after `warmup` rounds.
    """

    def __init__(self, setting: RunSetting, detector: str = "energy", warmup: int = 3, gentleness: float = 2.0) -> None:
        self.detector, self.warmup, self.gentleness = detector, warmup, gentleness

    def end(self, view: ClientView) -> Parameters:
        """c_k (C,)."""
        if view.index <= self.warmup:
            return {}
        c = torch.stack([-strangeness(logits, self.detector).mean() for logits in view.local_logits])
        view.work.columns["confidence"] = c
        return {"confidence": c}

    def __call__(self, server: ServerView) -> Tensor:
        """The weights (C,)."""
        if server.index <= self.warmup:
            return samples(server)
        c = self.reported(server)["confidence"]
        z = (c - c.mean()) / c.std(unbiased=False).clamp_min(1e-6)
        return (server.counts.log() + z / self.gentleness).softmax(0)  # in logarithms, where no power overflows

"""How sure a model is, and whether it should be: calibration of one answer, and how far several members disagree.

Probabilities are (n, C), those of an ensemble of M members (M, n, C); labels are (n,) classes. The ensemble's answer is the
mean of its members' probabilities. LoRA-Ensemble (arXiv:2405.14438) takes the calibration error from the mean of the
members' logits instead; here every measure is taken from the same answer.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ilora.records import BINS

LEAST = torch.finfo(torch.float32).tiny  # so that the logarithm of a zero is finite


class Reliability(NamedTuple):
    """Per bin of confidence (BINS,): how many answers, their mean confidence, the share that is right; zeros in an empty bin."""

    samples: Tensor
    confidence: Tensor
    accuracy: Tensor


class Ensemble(NamedTuple):
    """What an ensemble of M members answers, and how far they agree."""

    accuracy: float
    loss: float  # -log of the true class's probability
    calibration_error: float
    brier: float
    disagreement: float  # share of samples on which two members answer differently, mean over pairs; NaN for one member
    epistemic: float  # mutual information between member and answer, nats
    aleatoric: float  # mean entropy of the members, nats
    member_accuracy: float  # mean over the members, each for itself
    member_calibration_error: float
    reliability: Reliability
    member_reliability: Reliability  # of the members' answers, each for itself, taken together


def reliability(p: Tensor, labels: Tensor) -> Reliability:
    """Answers sorted into bins by the probability of the chosen class."""
    confidence, answer = p.max(-1)
    place = (confidence * BINS).long().clamp(0, BINS - 1)
    member = torch.nn.functional.one_hot(place, BINS).to(p)  # (n, BINS)
    count, right = member.sum(0), (answer == labels).to(p)
    return Reliability(count, confidence @ member / count.clamp_min(1), right @ member / count.clamp_min(1))


def calibration_error(bins: Reliability) -> float:
    """ECE = sum_b (n_b / n) |accuracy_b - confidence_b|, 0..1."""
    return float((bins.samples * (bins.accuracy - bins.confidence).abs()).sum() / bins.samples.sum())


def brier(p: Tensor, labels: Tensor) -> float:
    """Mean squared distance of the probabilities from the truth, 0..2."""
    truth = torch.nn.functional.one_hot(labels, p.shape[-1]).to(p)
    return float((p - truth).square().sum(-1).mean())


def entropy(p: Tensor) -> Tensor:
    """H = -sum_c p_c log p_c in nats, (..., C) -> (...)."""
    return -(p * p.clamp_min(LEAST).log()).sum(-1)


def epistemic(members: Tensor) -> Tensor:
    """(n,) H[mean p_i] - mean H[p_i]: what the members do not agree on, in nats; 0 where all say the same."""
    return (entropy(members.mean(0)) - entropy(members).mean(0)).clamp_min(0)


def disagreement(members: Tensor) -> float:
    """Share of samples on which two members answer differently, mean over pairs; NaN for a single one."""
    M = len(members)
    if M < 2:
        return float("nan")
    votes = torch.nn.functional.one_hot(members.argmax(-1), members.shape[-1]).sum(0).double()  # (n, C) members per class
    alike = (votes.square().sum(-1) - M) / (M * (M - 1))  # ordered pairs that agree
    return float(1 - alike.mean())


def ensemble(members: Tensor, labels: Tensor) -> Ensemble:
    """All measures of members (M, n, C)."""
    p = members.mean(0)
    bins = reliability(p, labels)
    alone = [calibration_error(reliability(own, labels)) for own in members]
    return Ensemble(
        accuracy=float((p.argmax(-1) == labels).double().mean()),
        loss=float(-p.gather(1, labels[:, None]).clamp_min(LEAST).log().mean()),
        calibration_error=calibration_error(bins),
        brier=brier(p, labels),
        disagreement=disagreement(members),
        epistemic=float(epistemic(members).mean()),
        aleatoric=float(entropy(members).mean()),
        member_accuracy=float((members.argmax(-1) == labels).double().mean()),
        member_calibration_error=sum(alone) / len(alone),
        reliability=bins,
        member_reliability=reliability(members.flatten(0, 1), labels.repeat(len(members))),
    )


MOST_SEATS = 16  # members whose probabilities are kept


MOST_PIXELS = 3 * 32 * 32  # of an image that is kept


SAMPLES = 64  # the first test samples, for which they are


def consensus(logits: Sequence[Tensor]) -> Tensor:
    """The common answer of M models, (..., C) each, as logits: the logarithm of their mean probability; for C = 1 their mean."""
    if len(logits) == 1:
        return logits[0]
    stacked = torch.stack(list(logits))
    if stacked.shape[-1] == 1:
        return stacked.mean(0)
    return (torch.logsumexp(stacked.log_softmax(-1), 0)) - torch.log(torch.tensor(float(len(logits))))


def calibration_record(who: str, logits: Tensor, labels: Tensor) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Scores and pictures for the record of members `who`, logits (M, n, C); nothing where labels are numbers.

    A measure of several members is left out where there is one.
    """
    if labels.is_floating_point():
        return {}, {}
    members = logits.double().softmax(-1)
    found = ensemble(members, labels)
    pictures = {
        f"{who}/bins": torch.stack(list(found.reliability)).float(),
        f"{who}/probabilities": members[:MOST_SEATS, :SAMPLES].float(),
        "labels": labels[:SAMPLES],
    }
    scores = {f"{who} calibration error": found.calibration_error, f"{who} brier": found.brier}
    if len(members) > 1:
        several = ("accuracy", "loss", "disagreement", "epistemic", "aleatoric", "member_accuracy", "member_calibration_error")
        scores |= {f"{who} {name.replace('_', ' ')}": getattr(found, name) for name in several}
        pictures[f"{who}/single bins"] = torch.stack(list(found.member_reliability)).float()
    return scores, pictures


def images(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first test samples as small images, (samples, C, H, W) uint8, to be shown beside the answers; nothing for text."""
    pixels = stored.get("pixel_values", torch.zeros(0))
    if pixels.ndim != 4 or pixels[0].numel() > MOST_PIXELS:
        return {}
    some = pixels[:SAMPLES]
    return {"images": some if some.dtype == torch.uint8 else (255 * some.clamp(0, 1)).round().to(torch.uint8)}

"""Several models asked the same: their common answer, and what a round records of how far they agree and how sure they are."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ilora import uncertainty

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


def minutes(who: str, logits: Tensor, labels: Tensor) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Scores and pictures for the record of members `who`, logits (M, n, C); nothing where labels are numbers.

    A measure of several members is left out where there is one.
    """
    if labels.is_floating_point():
        return {}, {}
    members = logits.double().softmax(-1)
    found = uncertainty.council(members, labels)
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

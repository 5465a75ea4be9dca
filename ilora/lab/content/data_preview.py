"""Who would hold which training samples, and some of them to look at: plain numpy, at once, before any run."""

import base64
import io

import numpy as np
from PIL import Image

from ilora.clients.partition import Dealt, deal
from ilora.experiment import Experiment
from ilora.lab.analysis.shown_samples import Shown, read_tested
from ilora.records import Array, RunFacts
from ilora.tasks import TASKS

GAP, WIDTH = 1 / 8, 64  # between two pictures, as a share of their width; pixels that a picture is at least wide


def dealt(e: Experiment, shown: Shown) -> Dealt:
    """Who holds what in an experiment, as its run will have it; FieldError for more clients than samples."""
    return deal(e, shown.labels, shown.classes, TASKS[e.task].styles)


def facts_of(experiment: Experiment, held: Dealt) -> RunFacts:
    """What can be said of a run before it is started."""
    return RunFacts(
        clients=len(held.shares),
        ranks=np.array(experiment.client_ranks),
        samples=held.counts.sum(1),
        class_counts=held.counts,
        classes=held.classes,
        layers=(),
        shapes=(),
        device="",
        precision=experiment.precision,
        threads=0,
        test_samples=TASKS[experiment.task].test_samples,
        backbone_parameters=0,
        adapter_parameters=np.zeros(len(held.shares), dtype=np.int64),
        head_parameters=0,
        styles=held.styles,
        noisy=held.noisy,
    )


def effective_classes(counts: Array) -> Array:
    """(K,) how many classes each client really sees: exp of the entropy of its class shares."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return np.exp(-(shares * logs).sum(1))


def some_of(groups: Array, share: Array, count: int) -> Array:
    """Up to `count` of one client's samples, sorted by class and spread evenly over all that it holds."""
    ordered = share[np.argsort(groups[share], kind="stable")]
    return ordered[np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int)]


def sheet(pictures: Array, rows: int, columns: int) -> Array:
    """Pictures (m, C, H, W), enlarged whole times, on a sheet (h, w, 4) uint8 with room for rows x columns; clear between."""
    _, channels, height, width = pictures.shape
    times = -(-WIDTH // width)
    gap = max(1, round(GAP * width * times))
    large = np.moveaxis(pictures, 1, -1).repeat(times, 1).repeat(times, 2)
    large = large.repeat(3, -1) if channels == 1 else large
    down, across = height * times + gap, width * times + gap
    whole = np.zeros((rows * down - gap, columns * across - gap, 4), dtype=np.uint8)
    for i, picture in enumerate(large):
        top, left = i // columns * down, i % columns * across
        whole[top : top + down - gap, left : left + across - gap, :3] = picture
        whole[top : top + down - gap, left : left + across - gap, 3] = 255
    return whole


def address(pixels: Array) -> str:
    """Pixels (h, w, 3 or 4) uint8 as a PNG in a data address: a file of its own may be gone before a slow browser asks for it."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def tested_text(e: Experiment, styles: tuple[str, ...], sample: int) -> tuple[str, ...]:
    """The sentence, or the pair, of a test sample, in the style in which the server is asked; errors as in `shown.read`."""
    occurring = tuple(dict.fromkeys(styles)) or ("",)
    return read_tested(e.task, e.data).said(sample, occurring[sample % len(occurring)])

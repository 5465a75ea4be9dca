"""CIFAR in the official format, but a few random images: what the loaders meet, without a download."""

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np

from ilora.tasks.cifar_files import Layout


def write(place: Path, layout: Layout, classes: int, per_class: int = 4, batches: int | None = None) -> None:
    """Fill the folder `place` with pickles as torchvision knows them; `batches` leaves out later training batches."""
    place.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in (*layout.train[:batches], layout.test):
        labels = [label for label in range(classes) for _ in range(per_class)]
        pixels = random.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
        content = {"batch_label": name, layout.labels: labels, "data": pixels, "filenames": ["x.png"] * len(labels)}
        (place / name).write_bytes(pickle.dumps(content, protocol=2))
    names = [f"class_{label}" for label in range(classes)]
    (place / layout.meta).write_bytes(pickle.dumps({layout.names: names}, protocol=2))


def tarred(place: Path) -> bytes:
    """The folder as a .tar.gz."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(place, place.name)
    return buffer.getvalue()

"""The tasks by name; their data and backbones, and with them torch, are loaded only when a task is asked for."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ilora.tasks.catalogue import TaskCard

if TYPE_CHECKING:
    from ilora.tasks.base import Task

TASKS: dict[str, TaskCard] = {
    "digits": TaskCard(
        title="Handwritten digits",
        about="1,797 handwritten digits of 8 x 8 pixels, and a tiny vision transformer that has only ever seen printed letters.",
        backbone="tiny-vit-letters",
        backbones=("tiny-vit-letters",),
        classes=tuple("0123456789"),
        train_samples=1437,
        test_samples=360,
        linears={
            "query": (64, 64),
            "key": (64, 64),
            "value": (64, 64),
            "output": (64, 64),
            "mlp-in": (128, 64),
            "mlp-out": (64, 128),
        },
        targets=("query", "value"),
        styles=("plain", "blur", "contrast", "rotation", "inversion"),
    ),
}
_MODULES = {"digits": "ilora.tasks.digits"}


def data_folder() -> Path:
    """The folder `data/` beside the package: embedded assets, and downloads in `data/cache`."""
    return Path(__file__).resolve().parents[2] / "data"


def load_task(name: str) -> "Task":
    """The task called `name`, with its data in memory."""
    if name not in _MODULES:
        raise ValueError(f"task: {name!r} is not one of {', '.join(_MODULES)}")
    task: Task = import_module(_MODULES[name]).load()
    return task

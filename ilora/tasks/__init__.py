"""The tasks by name; their data and backbones, and with them torch, are loaded only when a task is asked for.

May import records, tensor files, checks, randomness and places; never an experiment, a method or a client.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ilora.checks import FieldError
from ilora.tasks.cards import CIFAR_TASKS, TEXT_TASKS
from ilora.tasks.catalogue import BackboneCard, TaskCard
from ilora.tasks.places import cache_folder, shipped

if TYPE_CHECKING:
    from ilora.tasks.base import Task
    from ilora.tasks.download import Watch

LETTERS_VIT = BackboneCard(
    title="Tiny ViT, printed letters",
    about="A vision transformer of 4 blocks that has only ever seen printed letters.",
    linears={
        "query": (64, 64),
        "key": (64, 64),
        "value": (64, 64),
        "output": (64, 64),
        "mlp-in": (128, 64),
        "mlp-out": (64, 128),
    },
    pass_ms=0.2,
)

TASKS: dict[str, TaskCard] = {
    "digits": TaskCard(
        title="Handwritten digits",
        about="1,797 handwritten digits of 8 x 8 pixels, and a tiny vision transformer that has only ever seen printed letters.",
        backbones={"tiny-vit-letters": LETTERS_VIT},
        classes=tuple("0123456789"),
        train_samples=1437,
        test_samples=360,
        styles=("plain", "blur", "contrast", "rotation", "inversion"),
    ),
    **CIFAR_TASKS,
    **TEXT_TASKS,
}
_MODULES = {  # each has `load(name, backbone, folder) -> Task`, and `fetch(name, folder, watch)` where files are downloaded
    "digits": "ilora.tasks.digits",
    **dict.fromkeys(CIFAR_TASKS, "ilora.tasks.cifar"),
    **dict.fromkeys(TEXT_TASKS, "ilora.tasks.glue"),
    "toy-text": "ilora.tasks.toy_text",
}


def data_folder() -> Path:
    """The folder of what comes with the program: backbones, samples, the recorded run."""
    return shipped("data")


def place_of(name: str, folder: str = "") -> Path:
    """Where the task's files lie that do not come with the program: `folder`; if none is named, where downloads land.

    Files that lie in `data/cache`, where downloads landed at first, are read there.
    """
    if folder:
        return Path(folder).expanduser()
    cache, former = cache_folder(), data_folder() / "cache"
    return former if _lies_in(name, former) and not _lies_in(name, cache) else cache


def data_error(place: Path | str, sentence: str) -> FieldError:
    """The FieldError for files of a task that are missing or wrong."""
    return FieldError("data", str(place), "a folder with the task's official files", sentence)


def is_at_hand(name: str, folder: str = "") -> bool:
    """Whether the task's data can be loaded without a download."""
    return not TASKS[name].download or _lies_in(name, place_of(name, folder))


def _lies_in(name: str, place: Path) -> bool:
    return any((place / file).is_file() for file in TASKS[name].files)


def fetch_task(name: str, folder: str, watch: "Watch") -> None:
    """Download what the task lacks into the cache; into a folder that somebody named nothing is written."""
    module = import_module(_MODULES[name])
    if not folder and not is_at_hand(name) and hasattr(module, "fetch"):
        module.fetch(name, place_of(name), watch)


def load_task(name: str, backbone: str = "", folder: str = "") -> "Task":
    """The task called `name`, its data in memory, for a backbone (the default one if none is named).

    `folder` is where files that do not come with the program lie; empty: the cache, filled by one download.
    """
    if name not in _MODULES:
        known = ", ".join(_MODULES)
        raise FieldError("task", name, known, f"task: {name!r} is not one of {known}")
    task: Task = import_module(_MODULES[name]).load(name, backbone or TASKS[name].backbone, place_of(name, folder))
    return task

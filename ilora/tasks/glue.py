"""The nine tasks of GLUE (arXiv:1804.07461) from the official files in a folder; the library `datasets` fetches what lacks.

The labels of the test sets are not public, so the dev sets are what is tested on, and nobody trains on them.
"""

import shutil
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ilora.tasks import TASKS, data_error
from ilora.tasks.backbones import load_encoder, load_tokenizer
from ilora.tasks.base import Data, Task
from ilora.tasks.download import DownloadError, StoppedError, Watch, progress_bar
from ilora.tasks.glue_files import SHEETS, Rows, read_sheet, write_sheet
from ilora.tasks.places import cache_folder
from ilora.tasks.tokens import as_data, kept_tokens, text_of

HUB = "nyu-mll/glue"
HUB_COLUMNS = {"mrpc": ("sentence1", "sentence2"), "mnli": ("premise", "hypothesis")}  # where they differ from the official files


def find_or_fetch(name: str, folder: Path, watch: Watch) -> Path:
    """The folder of the task's files; downloaded is only into the cache, a folder that a user names must hold them."""
    sheet = SHEETS[name]
    ready = folder / sheet.folder
    if not ready.is_dir() and folder != cache_folder():
        raise data_error(
            folder,
            f"{folder} has no folder {sheet.folder}; put GLUE's official files there ({sheet.folder}/train.tsv, "
            f"{sheet.folder}/{sheet.dev[0]}.tsv), or leave the data folder empty to have them downloaded.",
        )
    if not ready.is_dir():
        fetch(name, folder, watch)
    return ready


def fetch(name: str, folder: Path, watch: Watch) -> None:
    """Fetch a task through `datasets` and write it as official files under `folder`, all of them or none."""
    sheet = SHEETS[name]
    own_way = f"or give a folder with GLUE's official files ({sheet.folder}/train.tsv, ...) as the data folder"
    try:
        from datasets import load_dataset
    except ImportError:
        sentence = f"task {name}: the library datasets is not installed; `pip install datasets`, {own_way}."
        raise DownloadError(sentence, folder) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as unfinished:
            splits = ("train", *sheet.dev)
            for i, split in enumerate(splits):
                watch(TASKS[name].title, i / len(splits))
                table = load_dataset(HUB, name, split=split.replace("dev", "validation"), cache_dir=unfinished)
                write_sheet(sheet, from_table(name, table), Path(unfinished) / sheet.folder / f"{split}.tsv")
            if not (folder / sheet.folder).exists():
                shutil.move(Path(unfinished) / sheet.folder, folder / sheet.folder)
    except StoppedError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        sentence = f"task {name}: the download failed ({reason}); try again with network access, {own_way}."
        raise DownloadError(sentence, folder) from error


def from_table(name: str, table: Mapping[str, Any]) -> Rows:
    """Rows out of the columns of a `datasets` table, whose class numbers are those of the official files' order."""
    columns = [list(table[column]) for column in HUB_COLUMNS.get(name, SHEETS[name].texts)]
    return Rows(list(zip(*columns, strict=True)), [float(label) for label in table["label"]])


def load(name: str, backbone: str, folder: Path) -> Task:
    """One task: sentences or pairs as tokens of the backbone, labels (n,) as class numbers or, for STS-B, scores 0 to 5."""
    card, sheet = TASKS[name], SHEETS[name]
    files, tokenizer = find_or_fetch(name, folder, progress_bar()), load_tokenizer(backbone)

    def split_data(split: str) -> Data:
        rows = read_sheet(sheet, files / f"{split}.tsv")
        labels = torch.tensor(rows.labels) if card.regression else torch.tensor(rows.labels).long()
        return as_data(kept_tokens(tokenizer, rows.texts, cache_folder() / "tokens"), labels)

    test, *more = sheet.dev
    return Task(
        card,
        split_data("train"),
        split_data(test),
        partial(load_encoder, backbone, card.outputs),
        more_tests={split.removeprefix("dev_"): split_data(split) for split in more},
        text_of=partial(text_of, tokenizer),
    )

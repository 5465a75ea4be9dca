"""A notebook run in this process, cell after cell."""

from typing import Any

import nbformat
import torch


def run_cells(book: Any) -> dict[str, object]:
    """Check that the notebook is one, run its code, and return the names that it leaves; threads stay as they were."""
    nbformat.validate(book)
    threads = torch.get_num_threads()
    names: dict[str, object] = {}
    for cell in book.cells:
        if cell.cell_type == "code":
            exec(cell.source, names)
    torch.set_num_threads(threads)
    return names

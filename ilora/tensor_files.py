"""Tensor files: named arrays in one safetensors file each, written so that a file is either whole or not there."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FORMAT = "ilora-lab-1"


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` under a temporary name, flush them to the disk, then move the file to `path`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        save_file(
            {name: np.asarray(array, order="C") for name, array in arrays.items()},
            temporary,
            {"format": FORMAT, "order": json.dumps(list(arrays))},
        )
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_tensors(path: Path, way_out: str, under: str = "") -> dict[str, np.ndarray]:
    """The arrays of `path` whose names start with `under`, in the order in which they were given.

    StoreError, ending in `way_out`, for any other file.
    """
    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT:
                raise ValueError("another program wrote it")
            return {name: file.get_tensor(name) for name in json.loads(about["order"]) if name.startswith(under)}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is missing, truncated or foreign ({error}); {way_out}") from None


def flush_folder(folder: Path) -> None:
    """Make a renaming in `folder` survive a power cut, where the system allows it."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class StoreError(ValueError):
    """Something stored is missing, damaged or foreign, or may not be changed now; the message says what to do."""

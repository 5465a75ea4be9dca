"""Tensor files: named arrays in one safetensors file each, written so that a file is either whole or not there.

Each carries the sha256 of its contents, so that a bit that has flipped since is seen when the file is read.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

FORMAT = "ilora-lab-1"
DIGEST = "sha256"  # its name among the file's metadata; files of earlier versions have none


def write_tensors(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write `arrays` under a temporary name, flush them to the disk, then move the file to `path`; returns their digest.

    OSError where the folder is missing, full or cannot be written.
    """
    plain = {name: _plain(array) for name, array in arrays.items()}
    digest = _Digest()
    for name, array in plain.items():
        digest.add(name, array)
    about = {"format": FORMAT, "order": json.dumps(list(plain)), DIGEST: digest.text()}
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _save(plain, temporary, about)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return digest.text()


def read_tensors(path: Path, way_out: str, under: str = "", digest: str = "") -> dict[str, np.ndarray]:
    """The arrays of `path` whose names start with `under`, in the order in which they were given.

    StoreError, ending in `way_out`, for any other file, and for one whose contents differ from the digest that it carries or
    from the `digest` noted elsewhere.
    """
    return _read(path, way_out, lambda name: name.startswith(under), digest)[0]


def check_tensors(path: Path, way_out: str, digest: str = "") -> str:
    """The digest of what `path` holds, of which one array at a time is in memory; StoreError as for `read_tensors`."""
    return _read(path, way_out, lambda name: False, digest)[1]


def _read(path: Path, way_out: str, wanted: Callable[[str], bool], digest: str) -> tuple[dict[str, np.ndarray], str]:
    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            order = json.loads(about["order"])
            if about.get("format") != FORMAT or sorted(order) != sorted(file.keys()):
                raise ValueError("another program wrote it")
            found, seen = {}, _Digest()
            for name in order:
                array = file.get_tensor(name)
                seen.add(name, array)
                if wanted(name):
                    found[name] = array
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path} is missing, truncated or foreign ({error}); {way_out}") from None
    if {digest, about.get(DIGEST, "")} - {"", seen.text()}:
        raise StoreError(f"{path} is damaged: what it holds is not what was written; {way_out}")
    return found, seen.text()


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


class _Digest:
    """The sha256 of named arrays: of names, kinds, shapes and numbers, in their order."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, name: str, array: np.ndarray) -> None:
        self._hash.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        self._hash.update(array.tobytes())

    def text(self) -> str:
        return self._hash.hexdigest()


def _plain(array: np.ndarray) -> np.ndarray:
    """The array in C order and in this machine's byte order."""
    array = np.asarray(array, order="C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _save(arrays: dict[str, np.ndarray], path: Path, about: dict[str, str]) -> None:
    try:
        save_file(arrays, path, about)
    except SafetensorError as error:  # it wraps what the system said
        raise OSError(str(error)) from None

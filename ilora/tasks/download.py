"""Downloads: one archive fetched once, resumed where it broke off, checked, and unpacked whole or not at all."""

import errno
import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Never

from filelock import FileLock, Timeout
from tqdm import tqdm

from ilora.checks import FieldError

Watch = Callable[[str, float], None]
"""Called often with what is being fetched and the share of it that is here, 0..1; it may raise to stop the download."""

CHUNK = 1 << 18  # bytes
PATIENCE = 30  # seconds without a byte


class StoppedError(Exception):
    """Whoever watched a download wants no more of it."""


class DownloadError(FieldError):
    """Files could not be fetched; the text is one sentence with the way out."""

    def __init__(self, sentence: str, into: Path | str = "") -> None:
        super().__init__("data", str(into), "a folder that holds the files already", sentence)
        self.args = (sentence, into)


class Archive(NamedTuple):
    """A tar archive on the web that holds one folder."""

    title: str
    url: str
    md5: str
    folder: str
    size: int  # bytes
    unpacked: int  # bytes


def fetch(archive: Archive, into: Path, watch: Watch) -> Path:
    """The archive's folder under `into`, downloaded and unpacked if it is not there. DownloadError says why it cannot be had.

    A broken download stays as <archive>.part and is resumed by the next call; anything else that fails leaves nothing behind.
    Of several processes one fetches, and the others wait for it.
    """
    ready = into / archive.folder
    if ready.is_dir():
        return ready
    try:
        into.mkdir(parents=True, exist_ok=True)
        with _alone(into / f"{archive.folder}.lock", archive.title, watch):
            if not ready.is_dir():
                _fetch(archive, into, watch)
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(_why(archive, into, error), into) from error
    return ready


def progress_bar() -> Watch:
    """A Watch that draws a progress bar from the first byte on, where there is a terminal."""
    bars: list[tqdm[Never]] = []

    def watch(title: str, share: float) -> None:
        if not bars:
            form = "{l_bar}{bar}| {n:.0f} % [{elapsed}<{remaining}]"
            bars.append(tqdm(total=100, desc=title, bar_format=form, disable=None))
        bars[0].update(100 * share - bars[0].n)
        if share >= 1:
            bars.pop().close()

    return watch


def _fetch(archive: Archive, into: Path, watch: Watch) -> None:
    part = into / f"{Path(archive.url).name}.part"
    _check_space(archive, into, part)
    _download(archive, part, watch)
    if _md5(part) != archive.md5:
        part.unlink()
        raise DownloadError(
            f"{archive.title}: what came from {archive.url} has not the official checksum and was deleted; try again, or put"
            " the files into a folder yourself and name it as data.",
            into,
        )
    _unpack(archive, part, into)
    part.unlink()


def _alone(lock: Path, title: str, watch: Watch) -> FileLock:
    """The lock, taken; whoever waits for it stays stoppable."""
    held = FileLock(lock)
    while True:
        try:
            held.acquire(timeout=0.2)
            return held
        except Timeout:
            watch(title, 0.0)


def _download(archive: Archive, part: Path, watch: Watch) -> None:
    """Append to `part` what is missing."""
    here = part.stat().st_size if part.is_file() else 0
    if here >= archive.size:
        return
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={here}-"} if here else {})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        resumed = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        here = here if resumed else 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                here += len(chunk)
                watch(archive.title, min(1.0, here / archive.size))
    if here < archive.size:
        raise ConnectionError(f"the connection broke after {here:,} of {archive.size:,} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _unpack(archive: Archive, part: Path, into: Path) -> None:
    """Unpack beside the place, then move there in one step."""
    with tempfile.TemporaryDirectory(dir=into, prefix="unpacking-") as folder:
        with tarfile.open(part) as tar:
            tar.extractall(folder, filter="data")
        (Path(folder) / archive.folder).replace(into / archive.folder)


def _check_space(archive: Archive, into: Path, part: Path) -> None:
    here = part.stat().st_size if part.is_file() else 0
    needed, free = archive.size - here + archive.unpacked, shutil.disk_usage(into).free
    if free < needed:
        raise DownloadError(
            f"{archive.title} needs {needed / 1e6:.0f} MB in {into}, where {free / 1e6:.0f} MB are free; free some space,"
            " or put the files elsewhere and name that folder as data.",
            into,
        )


def _why(archive: Archive, into: Path, error: Exception) -> str:
    """One sentence on a failure of the system, with the way out."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{archive.title}: the disk that holds {into} is full; free some space and try again."
    if isinstance(error, PermissionError | NotADirectoryError | FileExistsError):
        return f"{archive.title} cannot be written to {into} ({error.strerror}); name another folder as data."
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return (
        f"{archive.title} cannot be fetched from {archive.url} ({reason}); try again when the network is there, what has arrived"
        f" is kept, or put the folder {archive.folder} somewhere yourself and name that place as data."
    )

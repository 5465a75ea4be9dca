"""Downloads, from a server of this test: resumed, checked, whole or not at all, and every failure one sentence."""

import errno
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ilora.tasks import download
from ilora.tasks.download import Archive, DownloadError, fetch

FOLDER = "things"


def small_archive() -> bytes:
    """A .tar.gz of one folder with a file that does not compress."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        content = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(30_000))
        info = tarfile.TarInfo(f"{FOLDER}/inside")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


CONTENT = small_archive()


class Server(ThreadingHTTPServer):
    """Serves CONTENT; `cut` ends an answer after so many bytes; `asked` are the ranges that were asked for."""

    content = CONTENT
    cut: int | None = None
    resumes = True
    asked: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "")
        self.server.asked.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.resumes else 0
        body = self.server.content[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.cut])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def archive_of(server: Server, md5: str = hashlib.md5(CONTENT).hexdigest()) -> Archive:
    url = f"http://127.0.0.1:{server.server_address[1]}/things.tar.gz"
    return Archive("Things", url, md5, FOLDER, len(CONTENT), len(CONTENT))


def nothing(title: str, share: float) -> None:
    """Watch without looking."""


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {f"{FOLDER}.lock"}


def test_an_archive_is_fetched_unpacked_and_not_kept(server, tmp_path):
    shares: list[float] = []
    found = fetch(archive_of(server), tmp_path / "cache", lambda title, share: shares.append(share))
    assert found == tmp_path / "cache" / FOLDER
    assert (found / "inside").stat().st_size == 960_000
    assert left(tmp_path / "cache") == {FOLDER}
    assert len(shares) > 2
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    fetch(archive_of(server), tmp_path, nothing)
    fetch(archive_of(server), tmp_path, nothing)
    assert server.asked == [""]


def test_a_download_that_broke_off_is_kept_and_resumed_where_it_stopped(server, tmp_path):
    server.cut = 400_000
    with pytest.raises(DownloadError, match=r"^Things cannot be fetched from http.*try again .* what has arrived is kept"):
        fetch(archive_of(server), tmp_path, nothing)
    assert left(tmp_path) == {"things.tar.gz.part"}
    server.cut = None
    assert (fetch(archive_of(server), tmp_path, nothing) / "inside").is_file()
    assert server.asked == ["", "bytes=400000-"]
    assert left(tmp_path) == {FOLDER}


def test_a_server_that_cannot_resume_is_read_from_the_start(server, tmp_path):
    (tmp_path / "things.tar.gz.part").write_bytes(b"x" * 1000)
    server.resumes = False
    assert (fetch(archive_of(server), tmp_path, nothing) / "inside").is_file()


def test_a_stopped_download_is_resumed_too(server, tmp_path):
    def stop(title: str, share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(archive_of(server), tmp_path, stop)
    fetch(archive_of(server), tmp_path, nothing)
    assert server.asked[1].startswith("bytes=")


@pytest.mark.parametrize("part", [b"", b"another beginning"])
def test_a_wrong_checksum_is_refused_and_nothing_is_left(server, tmp_path, part):
    (tmp_path / "things.tar.gz.part").write_bytes(part)
    archive = archive_of(server) if part else archive_of(server, md5="0" * 32)
    with pytest.raises(DownloadError, match=r"^Things: what came from .* has not the official checksum and was deleted; "):
        fetch(archive, tmp_path, nothing)
    assert left(tmp_path) == set()


def test_without_a_network_one_sentence_says_what_to_do(tmp_path):
    archive = Archive("Things", "http://127.0.0.1:9/things.tar.gz", "", FOLDER, 10, 10)
    with pytest.raises(DownloadError, match=r"^Things cannot be fetched from http://127.* refused.* name that place as data\.$"):
        fetch(archive, tmp_path, nothing)
    assert left(tmp_path) == set()


def test_an_answer_of_the_wrong_length_counts_as_broken_off(server, tmp_path):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(DownloadError, match=r"the connection broke after 26 of"):
        fetch(archive_of(server), tmp_path, nothing)


def test_too_little_space_is_said_before_a_byte_is_fetched(server, tmp_path):
    huge = archive_of(server)._replace(size=10**18)
    with pytest.raises(DownloadError, match=r"^Things needs 10{9}\d+ MB in .* MB are free; free some space"):
        fetch(huge, tmp_path, nothing)
    assert server.asked == []


def test_a_disk_that_fills_up_leaves_no_half_unpacked_folder(server, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download.tarfile.TarFile, "extractall", full)
    with pytest.raises(DownloadError, match=r"^Things: the disk that holds .* is full; free some space and try again\.$"):
        fetch(archive_of(server), tmp_path, nothing)
    assert left(tmp_path) == {"things.tar.gz.part"}


def test_a_place_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"^Things cannot be written to .*name another folder as data\.$"):
        fetch(archive_of(server), tmp_path / "file", nothing)


def test_two_who_want_the_same_fetch_it_once(server, tmp_path):
    found: list[Path] = []
    wanting = [threading.Thread(target=lambda: found.append(fetch(archive_of(server), tmp_path, nothing))) for _ in range(3)]
    for thread in wanting:
        thread.start()
    for thread in wanting:
        thread.join(timeout=30)
    assert found == [tmp_path / FOLDER] * 3
    assert server.asked == [""]


def test_an_archive_that_climbs_out_of_its_folder_is_not_unpacked(server, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("../outside"), io.BytesIO())
    server.content = buffer.getvalue()
    archive = archive_of(server, hashlib.md5(server.content).hexdigest())._replace(size=len(server.content))
    with pytest.raises((DownloadError, tarfile.TarError)):
        fetch(archive, tmp_path / "cache", nothing)
    assert not (tmp_path / "outside").exists()

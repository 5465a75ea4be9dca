"""The way out does not need what has run out: a run can be deleted on an exactly full disk."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilora.lab.runs.database import RESERVE_BYTES
from ilora.lab.runs.store import Store, StoreError
from tests.stored_runs import EXPERIMENT, stored_run

DELETE = (
    "import sys; from pathlib import Path; from ilora.lab.runs.store import Store; Store(Path(sys.argv[1])).delete(sys.argv[2])"
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    size = f"size={4 * RESERVE_BYTES}"
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", size, "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> None:
    """Leave not one byte."""
    for size in (2**16, 512, 1):
        with (disk / f"ballast {size}").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
    assert shutil.disk_usage(disk).free == 0


@pytest.mark.parametrize("files", [True, False], ids=["with files", "without files"])
def test_a_run_is_deleted_on_a_full_disk(small_disk, files):
    store = Store(small_disk / "home")
    run_id = stored_run(store) if files else store.add(EXPERIMENT)
    fill(small_disk)
    with pytest.raises(StoreError, match="see that the disk has space"):
        store.set_note(run_id, "x" * 100_000)
    store.delete(run_id)
    assert store.runs() == []
    assert not store.folder(run_id).exists()


def test_a_run_is_deleted_on_a_full_disk_by_a_process_that_opens_the_store_only_then(small_disk):
    code = "import sys; from pathlib import Path; from tests.stored_runs import *; print(stored_run(Store(Path(sys.argv[1]))))"
    root = Path(__file__).resolve().parents[3]
    home = str(small_disk / "home")
    made = subprocess.run([sys.executable, "-c", code, home], cwd=root, capture_output=True, text=True, check=True)
    fill(small_disk)
    done = subprocess.run([sys.executable, "-c", DELETE, home, made.stdout.strip()], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (small_disk / "ballast 65536").unlink()
    assert Store(Path(home)).runs() == []


def refuse_once(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the next write end with an error of SQLite's."""
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = name
    write = store.write

    def refuse(*_: object) -> int:
        monkeypatch.setattr(store, "write", write)
        raise StoreError("cannot be used") from error

    monkeypatch.setattr(store, "write", refuse)


def test_a_full_disk_takes_the_files_first_then_the_run(store, monkeypatch):
    run_id = stored_run(store)
    refuse_once(store, monkeypatch, "SQLITE_FULL")
    store.delete(run_id)
    assert store.runs() == []


def test_a_store_that_is_only_locked_loses_no_file(store, monkeypatch):
    run_id = stored_run(store)
    refuse_once(store, monkeypatch, "SQLITE_BUSY")
    with pytest.raises(StoreError):
        store.delete(run_id)
    assert store.round(run_id, 1).index == 1


def test_what_was_given_back_is_set_aside_again(store):
    assert store.give_back()
    assert not store.give_back()
    store.delete(stored_run(store))
    assert store.give_back()

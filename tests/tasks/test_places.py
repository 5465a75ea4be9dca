"""Where files lie: one function for what comes with the program, one for what it fetches."""

import subprocess
import sys

import pytest

from ilora import tasks
from ilora.tasks import is_at_hand, place_of, places

FILE = tasks.TASKS["cifar10"].files[0]


def put(folder) -> None:
    (folder / FILE).parent.mkdir(parents=True)
    (folder / FILE).touch()


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """The cache, and the place of downloads in former versions."""
    monkeypatch.setenv("ILORA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tasks, "data_folder", lambda: tmp_path / "data")
    return tmp_path / "cache", tmp_path / "data" / "cache"


def test_in_a_checkout_what_is_shipped_lies_beside_the_package():
    assert places.shipped("app.py") == places.PACKAGE.parent / "app.py"


def test_in_a_wheel_what_is_shipped_lies_in_the_package(tmp_path, monkeypatch):
    (tmp_path / "site/ilora/shipped/data").mkdir(parents=True)
    (tmp_path / "site/data").mkdir()  # another program's
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "site/ilora")
    assert places.shipped("data") == tmp_path / "site/ilora/shipped/data"


def test_downloads_land_in_the_users_cache_unless_another_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("ILORA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert places.cache_folder().name == "ilora-lab"
    monkeypatch.setenv("ILORA_CACHE", str(tmp_path / "own"))
    assert places.cache_folder() == tmp_path / "own"


def test_a_task_is_downloaded_into_the_cache(folders):
    cache, _ = folders
    assert place_of("cifar10") == cache
    assert not is_at_hand("cifar10")
    put(cache)
    assert is_at_hand("cifar10")


def test_what_was_downloaded_by_a_former_version_is_still_read(folders):
    cache, former = folders
    put(former)
    assert place_of("cifar10") == former
    assert is_at_hand("cifar10")
    assert place_of("cifar100") == cache
    put(cache)
    assert place_of("cifar10") == cache


def test_a_folder_that_somebody_names_is_the_only_place(folders, tmp_path):
    put(folders[0])
    assert place_of("cifar10", str(tmp_path)) == tmp_path
    assert not is_at_hand("cifar10", str(tmp_path))


def test_another_python_finds_this_package_from_any_folder(tmp_path):
    code = "import ilora.tasks.places; print(ilora.tasks.places.PACKAGE)"
    found = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, env=places.environment_for_python(), text=True)
    assert found.strip() == str(places.PACKAGE)

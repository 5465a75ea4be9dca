"""A store of its own for every test."""

from pathlib import Path

import pytest

from ilora.lab.runs.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")

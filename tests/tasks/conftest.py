"""Real data for the tests that need them; where they are absent, those tests skip and say so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("ILORA_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository, or where ILORA_TEST_DATA says."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data in {SHARED}; set ILORA_TEST_DATA to a folder that has them")
    return SHARED


@pytest.fixture(scope="session")
def cifar_folder(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both CIFARs in the official layout, unpacked once for all tests."""
    if (shared_data / "cifar-100-python").is_dir():
        return shared_data
    script = shared_data / "unpack_cifar.py"
    if not script.is_file():
        pytest.skip(f"no CIFAR in {shared_data}")
    folder = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(script), str(shared_data / "packs"), str(folder)], check=True, capture_output=True)
    return folder

"""What pyproject.toml cannot say of the wheel: `app.py` goes with it, and is left where it is by `pip install -e`."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelHook(BuildHookInterface):
    """Carries the one file that no folder of the wheel's `sources` holds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add `app.py` to a wheel that is installed elsewhere."""
        if version == "standard":
            build_data["force_include"]["app.py"] = str(Path("ilora", "shipped", "app.py"))

"""Where files lie: those that come with the program, and those that it fetches."""

import os
from pathlib import Path

from platformdirs import user_cache_path

PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """The file or folder `name` of the repository's top level: `app.py`, `pages`, `data`.

    A wheel carries them in `shipped/` within the package (pyproject.toml says which); in a checkout they lie beside the package.
    """
    inside = PACKAGE / "shipped" / name
    return inside if inside.exists() else PACKAGE.parent / name


def cache_folder() -> Path:
    """Where downloads land: the folder that ILORA_CACHE names, else the user's cache."""
    named = os.environ.get("ILORA_CACHE", "").strip()
    return Path(named).expanduser().resolve() if named else user_cache_path("ilora-lab", appauthor=False)


def environment_for_python() -> dict[str, str]:
    """The environment in which another Python finds the same package, whatever folder it starts in."""
    path = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}

"""Your own methods from your own files: ILORA_PLUGINS names Python files that are run when ilora is imported."""

import os
import runpy


def load_plugins() -> None:
    """Run every file named in ILORA_PLUGINS (separated like PATH); ValueError for one that is not there or fails."""
    for path in filter(None, os.environ.get("ILORA_PLUGINS", "").split(os.pathsep)):
        try:
            runpy.run_path(path)
        except Exception as error:
            raise ValueError(f"ILORA_PLUGINS names {path!r}, which cannot be run: {error}.") from error

"""Runs: everything that was ever run."""

from ilora.dashboard.history import runs_page
from ilora.dashboard.navigation import title

title("Everything that was run")
runs_page()

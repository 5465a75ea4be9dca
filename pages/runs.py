"""Runs: everything that was ever run."""

from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.runs import runs_page

title("Everything that was run")
runs_page()

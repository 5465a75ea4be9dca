"""The address that the page Rewards had in earlier versions; a link to it still opens the page."""

from ilora.lab.dashboard.navigation import moved

moved("rewards")

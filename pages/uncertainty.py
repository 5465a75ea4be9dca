"""Uncertainty: how sure is the model, and should it be?"""

from ilora.dashboard.explorer import explore
from ilora.dashboard.navigation import title
from ilora.dashboard.sureness import page

title("How sure is the model, and should it be?")
explore(page, by_layer=False)

"""One round, step by step: what a client receives, learns, sends, and gets back."""

import streamlit as st

from ilora.lab.dashboard.controls.run_explorer import explore
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.round import five_steps

title("What happens in one round?")
st.markdown("Five steps, on the tensors of a real round. Press **Next step**; at step 4 you do the server's work yourself.")
explore(five_steps, factors=True)

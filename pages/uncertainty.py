"""Uncertainty: how sure is the model, and should it be?"""

import streamlit as st

from ilora.lab.dashboard.controls.run_explorer import explore
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.uncertainty import page

title("How sure is the model, and should it be?")
st.markdown(
    "A model names a class and gives its **confidence**. It is calibrated if, of all answers with a confidence of 80 %, 80 % are"
    " right. Averaging clients changes both accuracy and confidence, and not always by the same amount."
)
explore(page, by_layer=False)

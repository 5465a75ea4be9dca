"""Uncertainty: how sure is the model, and should it be?"""

import streamlit as st

from ilora.lab.dashboard.controls.run_explorer import explore
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views.uncertainty import page

title("How sure is the model, and should it be?")
st.markdown(
    "A model names a class and says how **sure** it is. That is honest if, of all answers that it is 80 % sure of, 80 % are"
    " right. Averaging clients changes both how often a model is right and how sure it is, and not always alike."
)
explore(page, by_layer=False)

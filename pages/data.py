"""Data: who holds what?"""

import streamlit as st

from ilora.dashboard import holding, link
from ilora.dashboard.explorer import explore
from ilora.dashboard.navigation import title

TRY, RUN = "Set it yourself", "A run's data"

title("Who holds what?")
st.markdown("No sample ever leaves its client. How unequal the clients' data are decides how hard it is to learn together.")
if link.asked("run") and "data.source" not in st.session_state:
    st.session_state["data.source"] = RUN
st.session_state.setdefault("data.source", TRY)
source = st.segmented_control("Data of", [TRY, RUN], required=True, key="data.source", persist_state="session")
if source == RUN:
    explore(holding.of_run, by_layer=False)
else:
    holding.try_it()

"""Data: who holds what?"""

import streamlit as st

from ilora.lab.dashboard import url
from ilora.lab.dashboard.controls.run_explorer import explore
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views import data

TRY, RUN = "Set it yourself", "A run's data"

title("Who holds what?")
st.markdown("No sample ever leaves its client. How unequal the clients' data are decides how hard it is to learn together.")
if url.asked("run") and "data.source" not in st.session_state:
    st.session_state["data.source"] = RUN
st.session_state.setdefault("data.source", TRY)
source = st.segmented_control("Data of", [TRY, RUN], required=True, key="data.source", persist_state="session")
if source == RUN:
    explore(data.of_run, by_layer=False)
else:
    data.try_it()

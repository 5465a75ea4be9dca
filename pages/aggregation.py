"""Aggregation: why can't we just average A and B?"""

import streamlit as st

from ilora.lab.dashboard.controls.run_explorer import explore
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.views import aggregation

MADE_UP, REAL = "Made-up clients", "A run's real factors"

title("Why can't we just average A and B?")
st.markdown(
    "What a client has learned is the product **BA**. The average of products is not the product of averages. So averaging the"
    " factors, as plain federated averaging does, does not give the average of the clients' updates."
)
source = st.segmented_control(
    "Try the rules on", [MADE_UP, REAL], default=MADE_UP, required=True, key="aggregation.source", persist_state="session"
)
if source == REAL:
    explore(aggregation.from_run, factors=True)
else:
    aggregation.made_up()

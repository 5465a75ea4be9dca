"""Home: what is federated LoRA, and four doors."""

import streamlit as st

from ilora.experiment import Experiment
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.charts.animation import show_film
from ilora.lab.dashboard.navigation import title
from ilora.lab.dashboard.run_group import open_run, refusal_kept, show_refusal, submit

DOORS = {
    "playground": ("Play", ":material/experiment:", "What happens if …? Change ranks, data and method, and watch real training."),
    "learn": ("Learn", ":material/school:", "Eight lessons of a few minutes: predict, run, see, understand."),
    "compare": ("Compare", ":material/compare_arrows:", "Several methods on the same clients, batches and start, side by side."),
    "methods": ("Look up", ":material/menu_book:", "Every method with its formula, its code, and where it comes from."),
}

title("What is federated LoRA?")
data_access.store()
if url.describes_experiment() or url.asked("run"):  # a link from when the playground was the first page
    st.switch_page("pages/playground.py", query_params=st.query_params.to_dict())
st.markdown(
    "Many **clients** improve one pretrained model together, and none of them shows its data. The model stays frozen. Each client"
    " trains a **LoRA** adapter beside it, two thin matrices of a low **rank**, and sends it with the model's small head. The"
    " **server** merges the adapters and sends the result back. Here the clients' ranks differ: how can adapters of different"
    " shapes be aggregated?"
)
with st.container(border=True, key="home.film"):
    show_film()
    st.caption("A real run of the default experiment, recorded: ILoRA, 8 clients, ranks 2, 4, 8 and 16, unequal data.")
if st.button(
    "Run it yourself now", type="primary", icon=":material/play_arrow:", key="home.run", help="The default experiment, live."
):
    with refusal_kept():
        open_run(submit(Experiment()))
    show_refusal()
with st.grid("auto", min_column_width=240, gap="small"):
    for page, (name, icon, about) in DOORS.items():
        with st.container(border=True, height="stretch", key=f"door.{page}"):
            st.page_link(f"pages/{page}.py", label=f"**{name}**", icon=icon)
            st.markdown(about)

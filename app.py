"""Entry point of the app: `streamlit run app.py`. Navigation only; every page is a file in pages/."""

import streamlit as st

from ilora.lab.dashboard.data_access import kept_up
from ilora.lab.dashboard.navigation import navigation

if __name__ == "__main__":  # Streamlit runs this file again for every visit
    navigation().run()
else:
    app = st.App(__file__, lifespan=kept_up)

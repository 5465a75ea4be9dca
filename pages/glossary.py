"""Glossary: what does this word mean?"""

import streamlit as st

from ilora.lab.content.glossary import GLOSSARY, TITLES
from ilora.lab.dashboard.navigation import title

title("What does this word mean?")
st.caption("The same explanations appear wherever a question mark stands beside a control, a number or a chart.")
asked = st.text_input(
    "Find", type="search", key="glossary.find", placeholder="a word", live="300ms", label_visibility="collapsed"
).lower()
found = {
    TITLES.get(term, term[0].upper() + term[1:]): text for term, text in GLOSSARY.items() if asked in f"{term} {text}".lower()
}
if not found:
    st.info("No explanation has this word.", icon=":material/search_off:")
with st.grid("auto", min_column_width=300, gap="small"):
    for term in sorted(found, key=str.lower):
        with st.container(border=True, height="stretch"):
            st.markdown(f"**{term}**  \n{found[term]}")

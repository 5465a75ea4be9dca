"""Limits: what can I not conclude from this?"""

import streamlit as st

from ilora.lab.content.limits import LIMITS, Limit
from ilora.lab.dashboard.navigation import title
from ilora.methods import METHODS, PROVENANCE, Method
from ilora.methods.ingredients import INGREDIENTS


def show(limit: Limit) -> None:
    """One limit with where it sits."""
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{limit.title}**  \n{limit.text}")
        st.caption(f"`{limit.where.replace(':', ' · ')}`")


def places(method: Method) -> str:
    """The functions that are a method's own."""
    plain = Method(title="")
    sources = [INGREDIENTS[stage][key].source for stage, key in method.ingredients.items() if key != getattr(plain, stage)]
    named = [source for source in sources if isinstance(source, str)]
    return ", ".join(f"`{source.replace('.', '/').replace(':', '.py · ')}`" for source in named)


title("What can I not conclude from this?")
st.markdown("Every weakness that we know of, with the file and the function it sits in. Nothing here is hidden in a footnote.")
for group, limits in LIMITS.items():
    st.markdown(f"#### {group}")
    with st.grid("auto", min_column_width=320, gap="small"):
        for limit in limits:
            show(limit)
st.markdown("#### Where a method's source is silent, or we depart from it")
for method in METHODS.values():
    if method.choices or method.provenance_of() not in ("code", "paper"):
        with st.expander(f"{method.title}: {PROVENANCE[method.provenance_of()]}"):
            st.markdown("\n".join(f"- {text}" for text in (*method.choices, *([method.note] if method.note else []))))
            st.caption(places(method) or "`ilora/stages/aggregate.py · mean`")

"""The experiment in the page's address: one object, written as Experiment.to_query() and read back with every field checked.

Widgets are not bound to query parameters one by one: a bound widget writes its label instead of its value and drops what it
cannot read without a word. Here a link from Python or the CLI opens as well, and a wrong value is named beside its control.
"""

from collections.abc import Mapping
from urllib.parse import urlencode, urlsplit

import streamlit as st

from ilora.checks import FieldError, settings_of
from ilora.experiment import Experiment

FIELDS = tuple(settings_of(Experiment))
KEPT = ("hide", "room")  # of a classroom's link: they stay for the whole visit
_WRITTEN, _PROBLEMS = "link_written", "link_problems"


def read_link(query: Mapping[str, str]) -> tuple[Experiment, dict[str, str]]:
    """The experiment that a link describes, and one sentence for each field of it that was wrong and left at its default."""
    asked = {name: text for name, text in query.items() if name in FIELDS}
    problems: dict[str, str] = {}
    while True:
        try:
            return Experiment.from_query(asked), problems
        except FieldError as error:
            field = field_of(error)
            culprit = field if field in asked else "options" if "options" in asked else next(iter(asked))
            del asked[culprit]
            problems[culprit] = str(error)


def field_of(error: FieldError) -> str:
    """The control that an error is about; the options of ingredients have one together."""
    return error.field.partition(".")[0]


def opened() -> tuple[Experiment, dict[str, str]] | None:
    """What the address asks for, if it is not what this session wrote there: a link was opened, or the browser went back."""
    query = st.query_params.to_dict()
    if not query or query == st.session_state.get(_WRITTEN):
        return None
    st.session_state[_WRITTEN] = query
    return read_link(query) if describes_experiment() else None


def describes_experiment() -> bool:
    """Whether the address says anything about the experiment itself."""
    return any(name in FIELDS for name in st.query_params)


def publish(experiment: Experiment | None, **more: str) -> None:
    """Write the experiment, and whatever else the page needs to show the same again, into the address."""
    query = _classroom() | {name: text for name, text in more.items() if text} | (experiment.to_query() if experiment else {})
    if query != st.query_params.to_dict():
        st.query_params.from_dict(query)
    st.session_state[_WRITTEN] = query


def address(page: str, query: Mapping[str, str]) -> str:
    """A page's address on this server, as other browsers reach it."""
    here = urlsplit(st.context.url or "")
    origin = f"{here.scheme}://{here.netloc}" if here.netloc else ""
    return f"{origin}/{page}" + (f"?{urlencode(query)}" if query else "")


def problems() -> dict[str, str]:
    """What was wrong in the link that was opened, by field; a field leaves when its control is used."""
    found: dict[str, str] = st.session_state.setdefault(_PROBLEMS, {})
    return found


def asked(name: str) -> str:
    """What the address says for a parameter that is no field of an experiment."""
    return str(st.query_params.get(name, ""))


def kept(name: str) -> str:
    """What a classroom's link said for one of KEPT, also after the page has changed."""
    if found := asked(name):
        st.session_state[f"link.{name}"] = found
    return str(st.session_state.get(f"link.{name}", ""))


def hidden() -> set[str]:
    """The controls that a classroom's link hides."""
    return {name for name in kept("hide").split(",") if name}


def drop(*names: str) -> None:
    """Take parameters out of the address."""
    for name in names:
        st.query_params.pop(name, None)
    st.session_state[_WRITTEN] = st.query_params.to_dict()


def _classroom() -> dict[str, str]:
    return {name: text for name in KEPT if (text := kept(name))}


def note(**more: str) -> None:
    """Add to the address what the page has just made, such as the id of a new run."""
    for name, text in more.items():
        if text:
            st.query_params[name] = text
        else:
            st.query_params.pop(name, None)
    st.session_state[_WRITTEN] = st.query_params.to_dict()

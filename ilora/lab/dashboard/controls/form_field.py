"""One field of the form: a control that keeps its value, its name, and a place under it for what is wrong with it."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ilora.lab.content.glossary import explain
from ilora.lab.dashboard import url

PRESSED = "form.pressed"  # the setting whose name was pressed, and its explanation
NAMES = """<style>
[class*="st-key-name-"] button { min-height: 1.5rem; padding: 0; margin-bottom: 0.25rem; }  /* as high as a label */
[class*="st-key-name-"] button p { text-decoration: underline dotted; text-underline-offset: 0.2em; }
</style>"""


class Form:
    """One drawing of the form: widget values, and a place under each control for what is wrong with it."""

    def __init__(self, pressable: Collection[str] = ()) -> None:
        self.pressable = pressable
        self.values: dict[str, Any] = {}
        self.places: dict[str, DeltaGenerator] = {}

    @contextmanager
    def field(self, *names: str) -> Iterator[None]:
        """Draw the control of some fields; leaves a place for their problems under it."""
        with unless_hidden(*names):
            yield
        place = st.container()
        for name in names:
            self.places[name] = place
            if sentence := url.problems().get(name):
                self.problem(name, f"In the link, {sentence} The default is used instead.")

    @contextmanager
    def named(self, name: str, label: str, about: str) -> Iterator[dict[str, Any]]:
        """How to label the control of a field: a name that can be pressed is a button above it, with the explanation on it."""
        if name not in self.pressable:
            yield {"help": about}
            return
        with st.container(gap=None):
            st.button(
                label,
                key=f"name.{name}",
                type="tertiary",
                help=f"{about}\n\nPress: try several values.",
                on_click=press,
                args=(name, about),
            )
            yield {"label_visibility": "collapsed"}

    def problem(self, name: str, sentence: str) -> None:
        """Say what is wrong under the control of a field."""
        self.places.get(name, next(iter(self.places.values()))).markdown(f":red[:material/error: {plain(sentence)}]")


@contextmanager
def unless_hidden(*names: str) -> Iterator[None]:
    """Draw controls, and take them off the screen again if a classroom's link hides one of them: their values stay."""
    if not url.hidden() & set(names):
        yield
        return
    place = st.empty()
    with place.container():
        yield
    place.empty()


def text_line(name: str, label: str, placeholder: str, **settings: Any) -> str:
    """A line of text for the setting `name`."""
    return st.text_input(label, placeholder=placeholder, **settings, **kept(name))


def choice(form: Form, name: str, label: str, allowed: list[str], titles: dict[str, str], **settings: Any) -> None:
    """One of the `allowed` values, each under its title, where it has one."""
    with form.named(name, label, explain(name)) as look:
        form.values[name] = st.selectbox(
            label, allowed, format_func=lambda value: titles.get(value, value), **look, **settings, **kept(name)
        )


def number(form: Form, name: str, label: str, least: float, greatest: float, *, help: str, **settings: Any) -> None:
    """A number between `least` and `greatest`."""
    with form.named(name, label, help) as look:
        form.values[name] = st.number_input(label, least, greatest, **look, **settings, **kept(name))


def kept(name: str) -> dict[str, Any]:
    """How the control of a setting keeps its value from page to page, and forgets what was wrong with it once it is used."""
    return {"key": key_of(name), "on_change": forget, "args": (name,), "persist_state": "session"}


def key_of(name: str) -> str:
    """Where the session keeps the value of a setting's control."""
    return f"setting.{name}"


def forget(name: str) -> None:
    """A control was used: what was wrong in the link no longer matters."""
    url.problems().pop(name, None)


def press(name: str, about: str) -> None:
    """The name of a setting was pressed."""
    st.session_state[PRESSED] = name, about


def plain(sentence: str) -> str:
    """A sentence that Markdown leaves as it is."""
    for sign in r"\`*_[]$<>~#":
        sentence = sentence.replace(sign, "\\" + sign)
    return sentence

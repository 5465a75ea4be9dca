"""One field of the form: a control that keeps its value, its name, and a place under it for what is wrong with it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ilora.checks import Setting, settings_of
from ilora.experiment import Experiment
from ilora.lab.dashboard import url

DRAWN = "form.drawn"  # the settings that have a control now
PRESSED = "form.pressed"  # the setting whose name was pressed, and its explanation
NAMES = """<style>
[class*="st-key-name-"] button { min-height: 1.5rem; padding: 0; margin-bottom: 0.25rem; }  /* as high as a label */
[class*="st-key-name-"] button p { text-decoration: underline dotted; text-underline-offset: 0.2em; }
</style>"""


class Form:
    """One drawing of the form: what the settings are, widget values, and a place under each control for what is wrong with it."""

    def __init__(self, pressable: Collection[str] = ()) -> None:
        self.pressable = pressable
        self.settings = settings_of(Experiment)
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

    @contextmanager
    def named(self, own: Setting) -> Iterator[dict[str, Any]]:
        """How to label the control of a field: a name that can be pressed is a button above it, with the explanation on it."""
        if own.name not in self.pressable:
            yield {"help": own.help}
            return
        with st.container(gap=None):
            st.button(
                own.title,
                key=f"name.{own.name}",
                type="tertiary",
                help=f"{own.help}\n\nPress: try several values.",
                on_click=press,
                args=(own.name, own.help),
            )
            yield {"label_visibility": "collapsed"}

    def say_problems(self) -> None:
        """Say what was wrong in the link, each under its control, or under the first where that is not drawn."""
        for name, sentence in url.problems().items():
            self.problem(name, f"In the link, {sentence} The default is used instead.")

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


def control(form: Form, own: Setting) -> None:
    """The control that fits a setting: a choice, a number, or a line of text."""
    if own.choices:
        choice(form, own, list(own.choices), titles_of(own))
    elif own.kinds <= {int, float}:
        number(form, own)
    else:
        form.values[own.name] = text_line(own, own.title, own.empty)


def titles_of(own: Setting) -> dict[str, str]:
    """What the screen calls the choices of a setting: what each of them is, where the setting says so."""
    meant = own.choices if isinstance(own.choices, Mapping) else {}
    return {name: text[0].upper() + text[1:] for name, text in meant.items() if isinstance(text, str)}


def text_line(own: Setting, label: str, placeholder: str) -> str:
    """A line of text for a setting."""
    return st.text_input(label, placeholder=placeholder, help=own.help, **kept(own.name))


def choice(form: Form, own: Setting, allowed: list[str], titles: Mapping[str, str], **more: Any) -> None:
    """One of the `allowed` values, each under its title, where it has one."""
    with form.named(own) as look:
        form.values[own.name] = st.selectbox(
            own.title, allowed, format_func=lambda value: titles.get(value, value), **look, **more, **kept(own.name)
        )


def number(form: Form, own: Setting) -> None:
    """A number within the setting's bounds; an empty field is None where the setting has such a value."""
    read: Callable[[float], float] = int if int in own.kinds else float
    look: dict[str, Any] = {"min_value": read(own.least), "max_value": read(own.greatest)}
    if int not in own.kinds:
        look |= {"step": (own.default or 1) / 10, "format": "%.4g"}
    if own.optional:
        look |= {"value": None, "placeholder": own.empty}
    with form.named(own) as name:
        form.values[own.name] = st.number_input(own.title, **look, **name, **kept(own.name))


def kept(name: str) -> dict[str, Any]:
    """How the control of a setting keeps its value from page to page, and forgets what was wrong with it once it is used."""
    return {"key": key_of(name), "on_change": forget, "args": (name,), "persist_state": "session"}


def key_of(name: str) -> str:
    """Where the session keeps the value of a setting's control."""
    return f"setting.{name}"


def forget(name: str) -> None:
    """A control was used: what was wrong in the link with it, or with a setting that has no control now, no longer matters."""
    drawn = st.session_state.get(DRAWN, set(url.problems()))
    for wrong in [wrong for wrong in url.problems() if wrong == name or wrong not in drawn]:
        del url.problems()[wrong]


def press(name: str, about: str) -> None:
    """The name of a setting was pressed."""
    st.session_state[PRESSED] = name, about


def plain(sentence: str) -> str:
    """A sentence that Markdown leaves as it is."""
    for sign in r"\`*_[]$<>~#":
        sentence = sentence.replace(sign, "\\" + sign)
    return sentence

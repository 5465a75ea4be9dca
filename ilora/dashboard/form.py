"""The form: a few controls that make an Experiment. It is checked in Python, and what is wrong stands under its control."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ilora.dashboard import lab, link
from ilora.dashboard.glossary import explain
from ilora.dashboard.switchboard import fill_switchboard, mode_control, switchboard
from ilora.experiment import DEVICES, ENGINES, MOST_CLIENTS, OPTIMIZERS, PRECISIONS, SKEWS, Experiment, profile_ranks
from ilora.methods import METHODS
from ilora.pace import duration, expected_pace
from ilora.tasks import TASKS, is_at_hand
from ilora.tasks.catalogue import PLAIN_NAMES, TaskCard

OWN_RANKS = "list"
PROFILES = {
    "spread": "2, 4, 8, 16 in turn",
    "uniform": "4 for everyone",
    "paper": "2, 4, 6 in turn (paper)",
    "heavy-tail": "Mostly 2, few large",
    "one-giant": "One 16, others 2",
    OWN_RANKS: "My own list",
}
SKEW_NAMES = {
    "iid": "The same for all",
    "label": "Few classes each (Dirichlet)",
    "shards": "Sorted shards",
    "quantity": "Unequal amounts",
    "attribute": "A style of its own (blur, dialect, ...)",
}
TRAINING = {
    "participation",
    "local_steps",
    "local_epochs",
    "adapter",
    "precision",
    "batch_size",
    "optimizer",
    "lr",
    "scaling",
    "targets",
    "engine",
    "device",
}
ALPHAS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0, 100.0)
UNKNOWN_DOWNLOAD = "The model is read from its folder, or fetched from the Hugging Face hub on the first run."
HIDABLE = {  # what a classroom's link may hide: fields, and the two parts that open
    "task": "Task",
    "method": "Method",
    "ranks": "Ranks",
    "clients": "Clients",
    "skew": "Who holds what",
    "alpha": "Dirichlet α",
    "noisy_clients": "Noisy clients",
    "rounds": "Rounds",
    "seed": "Seed",
    "training": "Training",
    "ingredients": "Ingredients",
}
CURRENT = "form.experiment"  # what the form last described
PRESSED = "form.pressed"  # the setting whose name was pressed, and its explanation
LEFT_OUT = "setting.left_out"  # the key of the list of clients that are left out
SAVED: dict[str, Any] = {"persist_state": "session"}
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
        with _unless_hidden(*names):
            yield
        place = st.container()
        for name in names:
            self.places[name] = place
            if sentence := link.problems().get(name):
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
                on_click=_press,
                args=(name, about),
            )
            yield {"label_visibility": "collapsed"}

    def problem(self, name: str, sentence: str) -> None:
        """Say what is wrong under the control of a field."""
        self.places.get(name, next(iter(self.places.values()))).markdown(f":red[:material/error: {plain(sentence)}]")


@contextmanager
def _unless_hidden(*names: str) -> Iterator[None]:
    """Draw controls, and take them off the screen again if a classroom's link hides one of them: their values stay."""
    if not link.hidden() & set(names):
        yield
        return
    place = st.empty()
    with place.container():
        yield
    place.empty()


def experiment_form(*, with_method: bool = True, pressable: Collection[str] = ()) -> Experiment | None:
    """Draw the form; the experiment it describes, or None while something is wrong, which it then says.

    The names of the `pressable` settings are buttons; PRESSED holds the one that was pressed.
    """
    _take_over_link()
    form = Form(pressable)
    if pressable:
        st.html(NAMES)
    _task_and_method(form, with_method)
    _clients(form)
    with form.field("left_out"):
        _left_out(form)
    _data(form)
    below_rounds = _length(form)
    _advanced(form)
    if with_method:
        with form.field("options", "ingredients"), st.expander("Ingredients", icon=":material/tune:"):
            st.caption("A method is a recipe. Swap one ingredient and see its effect alone.")
            mode = st.session_state.get(f"option.{form.values['method']}..mode", "")
            form.values["options"] = switchboard(form.values["method"], mode)
    try:
        experiment = Experiment(**form.values)
    except ValueError as error:
        form.problem(link.field_of(error), str(error))
        return None
    st.session_state[CURRENT] = experiment
    _say_pace(below_rounds, experiment)
    return experiment


def fill(experiment: Experiment) -> None:
    """Set every control to an experiment; call it before the form is drawn."""
    state = st.session_state
    for name in (
        "task",
        "method",
        "clients",
        "skew",
        "shards",
        "noisy_clients",
        "participation",
        "rounds",
        "local_steps",
        "local_epochs",
        "precision",
        "batch_size",
        "optimizer",
        "lr",
        "seed",
        "engine",
        "device",
        "alpha",
        "backbone",
        "data",
        "adapter",
    ):
        state[_key(name)] = getattr(experiment, name)
    listed = not isinstance(experiment.ranks, str)
    state[_key("profile")] = OWN_RANKS if listed else experiment.ranks
    state[_key("ranks")] = ", ".join(map(str, experiment.client_ranks))
    state[LEFT_OUT] = list(experiment.left_out)
    state[_key("targets")] = list(experiment.targets)
    state[_key("scaling")] = "" if experiment.scaling is None else str(experiment.scaling)
    fill_switchboard(experiment.method, experiment.options)


def _take_over_link() -> None:
    """At first, and whenever a link was opened, the controls take the link's values."""
    found = link.opened()
    if found:
        fill(found[0])
        link.problems().clear()
        link.problems().update(found[1])
    elif _key("method") not in st.session_state:
        fill(Experiment())


def _task_and_method(form: Form, with_method: bool) -> None:
    with form.field("task"):
        _choice(form, "task", "Task", list(TASKS), {name: card.title for name, card in TASKS.items()})
    with form.field("backbone", "data"):
        _backbone(form, TASKS[form.values["task"]])
    if not with_method:
        return
    with form.field("method"):
        _choice(form, "method", "Method", list(METHODS), {name: method.title for name, method in METHODS.items()})
        mode_control(form.values["method"])


def _backbone(form: Form, card: TaskCard) -> None:
    """Which frozen model, where there is a choice, and where files come from, where there are any to fetch."""
    state, titles = st.session_state, {name: backbone.title for name, backbone in card.backbones.items()}
    if not card.fits(state.get(_key("backbone")) or ""):
        state[_key("backbone")] = card.backbone  # another task was chosen
    named = state[_key("backbone")]
    st.caption(card.about)
    if len(titles) > 1 or card.any_backbone:
        allowed = list(dict.fromkeys([*titles, named]))
        _choice(form, "backbone", "Backbone", allowed, titles, accept_new_options=card.any_backbone)
    chosen = card.backbones.get(form.values.get("backbone") or card.backbone)
    if card.download:
        form.values["data"] = _text("data", "Data folder", "data/cache", help=explain("data"))
    data = "" if is_at_hand(form.values["task"], form.values.get("data", "")) else card.download
    needed = [text for text in (data, chosen.download if chosen else UNKNOWN_DOWNLOAD) if text]
    if needed:
        st.caption(f":material/download: {' '.join(needed)}")


def _clients(form: Form) -> None:
    with form.field("ranks"):
        with form.named("ranks", "Ranks", explain("ranks")) as look:
            profile = st.selectbox(
                "Ranks",
                list(PROFILES),
                key=_key("profile"),
                format_func=PROFILES.__getitem__,
                on_change=_forget,
                args=("ranks",),
                **look,
                **SAVED,
            )
        if profile == OWN_RANKS:
            form.values["ranks"] = _numbers(_text("ranks", "One rank per client", "2, 4, 8"))
        else:
            form.values["ranks"] = profile
    if profile == OWN_RANKS:
        return
    with form.field("clients"):
        most = min(MOST_CLIENTS, TASKS[form.values["task"]].train_samples)
        _number(form, "clients", "Clients", 1, most, help=explain("client"))


def _left_out(form: Form) -> None:
    """Clients that never take part; those that no longer exist are forgotten."""
    named = form.values["ranks"]
    count = int(form.values.get("clients") or 1) if isinstance(named, str) else len(named)
    ranks = profile_ranks(named, count) if isinstance(named, str) else named
    state = st.session_state
    state[LEFT_OUT] = [k for k in state.get(LEFT_OUT, ()) if k < count]
    form.values["left_out"] = st.multiselect(
        "Leave out",
        range(count),
        key=LEFT_OUT,
        format_func=lambda k: f"client {k + 1} (rank {ranks[k]})",
        placeholder="nobody",
        help=explain("left out"),
        on_change=_forget,
        args=("left_out",),
        **SAVED,
    )


def _data(form: Form) -> None:
    with form.field("skew"):
        _choice(form, "skew", "Who holds what", list(SKEWS), SKEW_NAMES)
    with form.field("alpha", "shards"):
        if form.values["skew"] in ("label", "quantity"):
            extra = st.session_state.setdefault("alphas_from_links", set())
            extra.add(st.session_state.setdefault(_key("alpha"), Experiment().alpha))
            with form.named("alpha", "Dirichlet α", explain("alpha")) as look:
                form.values["alpha"] = st.select_slider(
                    "Dirichlet α",
                    sorted({*ALPHAS, *extra}),
                    key=_key("alpha"),
                    format_func=lambda alpha: f"{alpha:g}",
                    on_change=_forget,
                    args=("alpha",),
                    **look,
                    **SAVED,
                )
        elif form.values["skew"] == "shards":
            _number(form, "shards", "Shards per client", 1, 100, help=explain("shards"))
    with form.field("noisy_clients"):
        _number(form, "noisy_clients", "Noisy clients", 0, MOST_CLIENTS, help=explain("noisy clients"))


def _length(form: Form) -> DeltaGenerator:
    """Rounds and seed; leaves a place under them."""
    left, right = st.columns(2)
    with left, form.field("rounds"):
        _number(form, "rounds", "Rounds", 1, 10_000, help=explain("round"))
    with right, form.field("seed"):
        _number(form, "seed", "Seed", 0, 2**31 - 1, help=explain("seed"))
    return st.container()


def _say_pace(place: DeltaGenerator, experiment: Experiment) -> None:
    """How long a round takes here, and how one knows."""
    pace = expected_pace(lab.store().runs(), experiment)
    if pace is None:
        place.caption("Nobody has timed this backbone: the first round will tell how long one takes.")
        return
    times = f"{duration(pace.seconds)} for a round, {duration(pace.seconds * experiment.rounds)} for all"
    if pace.judge is None:
        place.caption(f"Roughly {times}, on two CPU cores. Your first run will tell how fast this machine is.")
    elif (pace.judge.task, pace.judge.backbone) == (experiment.task, experiment.backbone):
        place.caption(f"By earlier runs here: about {times}.")
    else:
        place.caption(f"Roughly {times}, judged by a run of {TASKS[pace.judge.task].title} here.")


def _advanced(form: Form) -> None:
    wrong = bool(TRAINING & link.problems().keys())
    with _unless_hidden("training"), st.expander("Training", icon=":material/fitness_center:", expanded=wrong):
        with form.field("participation"):
            _number(form, "participation", "Participation", 0.001, 1.0, step=0.1, format="%.3g", help=explain("participation"))
        with form.field("local_steps"):
            _number(form, "local_steps", "Local steps per round", 0, 100_000, help=explain("local steps"))
        with form.field("local_epochs"):
            _number(
                form,
                "local_epochs",
                "Local epochs per round",
                1,
                1_000,
                value=None,
                placeholder="steps instead",
                help=explain("local epochs"),
            )
        with form.field("batch_size"):
            _number(form, "batch_size", "Batch size", 1, 4_096, help=explain("batch size"))
        with form.field("optimizer"):
            _choice(form, "optimizer", "Optimizer", list(OPTIMIZERS), OPTIMIZERS)
        with form.field("lr"):
            _number(form, "lr", "Learning rate", 0.0, 10.0, step=0.0005, format="%.4g", help=explain("learning rate"))
        with form.field("scaling"):
            form.values["scaling"] = _scaling(_text("scaling", "Scaling s", "the method's own", help=explain("scaling")))
        with form.field("targets"):
            linears = _linears(form)
            form.values["targets"] = st.multiselect(
                "Adapted layers",
                linears,
                key=_key("targets"),
                help=explain("targets"),
                on_change=_forget,
                args=("targets",),
                **SAVED,
            )
        with form.field("adapter"):
            about = explain("start adapter")
            form.values["adapter"] = _text("adapter", "Start from adapter", "a folder; empty: from the backbone", help=about)
        with form.field("engine"):
            _choice(form, "engine", "Engine", list(ENGINES), {name: text.capitalize() for name, text in ENGINES.items()})
        with form.field("device"):
            _choice(form, "device", "Device", list(DEVICES), {})
        with form.field("precision"):
            _choice(form, "precision", "Precision", list(PRECISIONS), {})


def _linears(form: Form) -> list[str]:
    """What can carry adapters in the chosen backbone; chosen layers that it lacks are put back to its own."""
    state, card = st.session_state, TASKS[form.values["task"]]
    backbone = card.backbones.get(form.values.get("backbone") or card.backbone)
    if backbone is None:
        return list(dict.fromkeys([*PLAIN_NAMES, *state.get(_key("targets"), ())]))
    if not set(state.get(_key("targets"), ())) <= backbone.linears.keys():
        state[_key("targets")] = list(backbone.targets)
    return list(backbone.linears)


def _text(name: str, label: str, placeholder: str, **settings: Any) -> str:
    """A line of text for the setting `name`."""
    key = _key(name)
    return st.text_input(label, key=key, placeholder=placeholder, on_change=_forget, args=(name,), **settings, **SAVED)


def _choice(form: Form, name: str, label: str, allowed: list[str], titles: dict[str, str], **settings: Any) -> None:
    term = {"task": "task", "method": "method", "skew": "skew"}.get(name, name)
    with form.named(name, label, explain(term)) as look:
        form.values[name] = st.selectbox(
            label,
            allowed,
            key=_key(name),
            format_func=lambda value: titles.get(value, value),
            on_change=_forget,
            args=(name,),
            **look,
            **settings,
            **SAVED,
        )


def _number(form: Form, name: str, label: str, least: float, greatest: float, *, help: str, **settings: Any) -> None:
    with form.named(name, label, help) as look:
        form.values[name] = st.number_input(
            label, least, greatest, key=_key(name), on_change=_forget, args=(name,), **look, **settings, **SAVED
        )


def _press(name: str, about: str) -> None:
    st.session_state[PRESSED] = name, about


def _forget(name: str) -> None:
    """A control was used: what was wrong in the link no longer matters."""
    link.problems().pop(name, None)


def _key(name: str) -> str:
    return f"setting.{name}"


def _numbers(text: str) -> list[int | float | str]:
    """The ranks in a text; what is no number is passed on for the experiment to refuse."""
    parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    return [int(part) if part.lstrip("-").isdigit() else part for part in parts]


def _scaling(text: str) -> float | str | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        return text.strip()


def plain(sentence: str) -> str:
    """A sentence that Markdown leaves as it is."""
    for sign in r"\`*_[]$<>~#":
        sentence = sentence.replace(sign, "\\" + sign)
    return sentence

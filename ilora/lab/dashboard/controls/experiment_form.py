"""The form: a few controls that make an Experiment. It is checked in Python, and what is wrong stands under its control."""

from collections.abc import Callable, Collection

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ilora.checks import FieldError, Setting, settings_of
from ilora.experiment import Experiment, profile_ranks, settings_for
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.controls.form_field import (
    DRAWN,
    NAMES,
    Form,
    choice,
    control,
    kept,
    key_of,
    number,
    text_line,
    unless_hidden,
)
from ilora.lab.dashboard.controls.ingredients import fill_switchboard, mode_control, switchboard
from ilora.lab.runs.pace import duration, expected_pace
from ilora.methods import METHODS
from ilora.tasks import TASKS, is_at_hand
from ilora.tasks.catalogue import PLAIN_NAMES

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
ALPHAS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0, 100.0)
UNKNOWN_DOWNLOAD = "The model is read from its folder, or fetched from the Hugging Face hub on the first run."
FOLDED = {"training": "Training", "ingredients": "Ingredients"}  # the parts of the form that open
HIDABLE = {  # what a classroom's link may hide: single settings, and the parts that open
    **{name: own.title for name, own in settings_of(Experiment).items() if own.group not in FOLDED},
    **FOLDED,
}
CURRENT = "form.experiment"  # what the form last described
LEFT_OUT = key_of("left_out")  # the key of the list of clients that are left out


def experiment_form(*, with_method: bool = True, pressable: Collection[str] = ()) -> Experiment | None:
    """Draw the form; the experiment it describes, or None while something is wrong, which it then says.

    The names of the `pressable` settings are buttons; PRESSED holds the one that was pressed.
    """
    _take_over_link()
    form = Form(pressable)
    if pressable:
        st.html(NAMES)
    for group in ("task", *(("method",) if with_method else ()), "clients", "data"):
        for name in names_of(group):
            _draw(form, name)
    below_rounds = _length(form)
    _training(form)
    if with_method:
        _ingredients(form)
    st.session_state[DRAWN] = set(form.values)
    form.say_problems()
    try:
        experiment = Experiment(**form.values)
    except FieldError as error:
        form.problem(url.field_of(error), str(error))
        return None
    st.session_state[CURRENT] = experiment
    _say_pace(below_rounds, experiment)
    return experiment


def fill(experiment: Experiment) -> None:
    """Set every control to an experiment; call it before the form is drawn."""
    state = st.session_state
    for name in settings_of(Experiment).keys() - {"options"}:
        value = getattr(experiment, name)
        state[key_of(name)] = list(value) if isinstance(value, tuple) else value
    listed = not isinstance(experiment.ranks, str)
    state[key_of("profile")] = OWN_RANKS if listed else experiment.ranks
    state[key_of("ranks")] = ", ".join(map(str, experiment.client_ranks))
    state[key_of("scaling")] = "" if experiment.scaling is None else str(experiment.scaling)
    fill_switchboard(experiment.method, experiment.options)


def names_of(group: str) -> list[str]:
    """The settings of one part of the form."""
    return [name for name, own in settings_of(Experiment).items() if own.group == group]


def _draw(form: Form, name: str) -> None:
    """The control of a setting, one of its own in CONTROLS where the setting needs it."""
    with form.field(name):
        CONTROLS.get(name, control)(form, form.settings[name])


def _take_over_link() -> None:
    """At first, and whenever a link was opened, the controls take the link's values."""
    found = url.opened()
    if found:
        fill(found[0])
        url.problems().clear()
        url.problems().update(found[1])
    elif key_of("method") not in st.session_state:
        fill(Experiment())


def _task(form: Form, own: Setting) -> None:
    """The task; from here on the form has the bounds that it leaves."""
    choice(form, own, list(TASKS), {name: card.title for name, card in TASKS.items()})
    form.settings = settings_for(TASKS[form.values["task"]])


def _backbone(form: Form, own: Setting) -> None:
    """Which frozen model, where there is a choice."""
    card, state = TASKS[form.values["task"]], st.session_state
    titles = {name: backbone.title for name, backbone in card.backbones.items()}
    if not card.fits(state.get(key_of("backbone")) or ""):
        state[key_of("backbone")] = card.backbone  # another task was chosen
    st.caption(card.about)
    if len(titles) > 1 or card.any_backbone:
        allowed = list(dict.fromkeys([*titles, state[key_of("backbone")]]))
        choice(form, own, allowed, titles, accept_new_options=card.any_backbone)


def _data_folder(form: Form, own: Setting) -> None:
    """Where files come from, and what has to be fetched first, where there are any to fetch."""
    card = TASKS[form.values["task"]]
    chosen = card.backbones.get(form.values.get("backbone") or card.backbone)
    if card.download:
        form.values["data"] = text_line(own, own.title, own.empty)
    data = "" if is_at_hand(form.values["task"], form.values.get("data", "")) else card.download
    needed = [text for text in (data, chosen.download if chosen else UNKNOWN_DOWNLOAD) if text]
    if needed:
        st.caption(f":material/download: {' '.join(needed)}")


def _method(form: Form, own: Setting) -> None:
    choice(form, own, list(METHODS), {name: method.title for name, method in METHODS.items()})
    mode_control(form.values["method"])


def _ranks(form: Form, own: Setting) -> None:
    """A profile, or a list of one's own."""
    with form.named(own) as look:
        at = kept("ranks") | {"key": key_of("profile")}
        profile = st.selectbox(own.title, list(PROFILES), format_func=PROFILES.__getitem__, **look, **at)
    form.values["ranks"] = profile
    if profile == OWN_RANKS:
        form.values["ranks"] = _numbers(text_line(own, "One rank per client", "2, 4, 8"))


def _clients(form: Form, own: Setting) -> None:
    """How many a profile is for; a list says it itself."""
    if isinstance(form.values["ranks"], str):
        number(form, own)


def _left_out(form: Form, own: Setting) -> None:
    """Clients that never take part; those that no longer exist are forgotten."""
    named = form.values["ranks"]
    count = int(form.values.get("clients") or 1) if isinstance(named, str) else len(named)
    ranks = profile_ranks(named, count) if isinstance(named, str) else named
    state = st.session_state
    state[LEFT_OUT] = [k for k in state.get(LEFT_OUT, ()) if k < count]
    form.values["left_out"] = st.multiselect(
        own.title,
        range(count),
        format_func=lambda k: f"client {k + 1} (rank {ranks[k]})",
        placeholder=own.empty,
        help=own.help,
        **kept("left_out"),
    )


def _skew(form: Form, own: Setting) -> None:
    choice(form, own, list(own.choices), SKEW_NAMES)


def _alpha(form: Form, own: Setting) -> None:
    """A slider over usual values and those that links have brought, under the skews that read it."""
    if form.values["skew"] not in ("label", "quantity"):
        return
    extra = st.session_state.setdefault("alphas_from_links", set())
    extra.add(st.session_state.setdefault(key_of("alpha"), own.default))
    with form.named(own) as look:
        form.values["alpha"] = st.select_slider(
            own.title, sorted({*ALPHAS, *extra}), format_func=lambda alpha: f"{alpha:g}", **look, **kept("alpha")
        )


def _shards(form: Form, own: Setting) -> None:
    if form.values["skew"] == "shards":
        number(form, own)


def _scaling(form: Form, own: Setting) -> None:
    form.values["scaling"] = _number(text_line(own, own.title, own.empty))


def _targets(form: Form, own: Setting) -> None:
    linears = _linears(form)
    form.values["targets"] = st.multiselect(own.title, linears, help=own.help, **kept("targets"))


CONTROLS: dict[str, Callable[[Form, Setting], None]] = {
    "task": _task,
    "backbone": _backbone,
    "data": _data_folder,
    "method": _method,
    "ranks": _ranks,
    "clients": _clients,
    "left_out": _left_out,
    "skew": _skew,
    "alpha": _alpha,
    "shards": _shards,
    "scaling": _scaling,
    "targets": _targets,
}


def _length(form: Form) -> DeltaGenerator:
    """Rounds and seed, side by side; leaves a place under them."""
    names = names_of("length")
    for column, name in zip(st.columns(len(names)), names, strict=True):
        with column:
            _draw(form, name)
    return st.container()


def _say_pace(place: DeltaGenerator, experiment: Experiment) -> None:
    """How long a round takes here, and how one knows."""
    pace = expected_pace(data_access.store().runs(), experiment)
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


def _training(form: Form) -> None:
    names = names_of("training")
    wrong = not url.problems().keys().isdisjoint(names)
    title = FOLDED["training"]
    with unless_hidden("training"), st.expander(title, icon=":material/fitness_center:", expanded=wrong):
        for name in names:
            _draw(form, name)


def _ingredients(form: Form) -> None:
    with form.field("options", "ingredients"), st.expander(FOLDED["ingredients"], icon=":material/tune:"):
        st.caption("A method is a recipe. Swap one ingredient and see its effect alone.")
        mode = st.session_state.get(f"option.{form.values['method']}..mode", "")
        form.values["options"] = switchboard(form.values["method"], mode)


def _linears(form: Form) -> list[str]:
    """What can carry adapters in the chosen backbone; chosen layers that it lacks are put back to its own."""
    state, card = st.session_state, TASKS[form.values["task"]]
    backbone = card.backbones.get(form.values.get("backbone") or card.backbone)
    if backbone is None:
        return list(dict.fromkeys([*PLAIN_NAMES, *state.get(key_of("targets"), ())]))
    if not set(state.get(key_of("targets"), ())) <= backbone.linears.keys():
        state[key_of("targets")] = list(backbone.targets)
    return list(backbone.linears)


def _numbers(text: str) -> list[int | float | str]:
    """The ranks in a text; what is no number is passed on for the experiment to refuse."""
    parts = [part.strip() for part in text.replace(";", ",").split(",") if part.strip()]
    return [int(part) if part.lstrip("-").isdigit() else part for part in parts]


def _number(text: str) -> float | str | None:
    """The number in a text, None in an empty one; any other text is passed on for the experiment to read."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        return text.strip()

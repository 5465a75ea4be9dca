"""The form: a few controls that make an Experiment. It is checked in Python, and what is wrong stands under its control."""

from collections.abc import Collection
from dataclasses import fields

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from ilora.checks import FieldError
from ilora.experiment import DEVICES, ENGINES, MOST_CLIENTS, OPTIMIZERS, PRECISIONS, SKEWS, Experiment, profile_ranks
from ilora.lab.content.glossary import explain
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.controls.form_field import NAMES, Form, choice, kept, key_of, number, text_line, unless_hidden
from ilora.lab.dashboard.controls.ingredients import fill_switchboard, mode_control, switchboard
from ilora.lab.runs.pace import duration, expected_pace
from ilora.methods import METHODS
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
CONVERTED = ("ranks", "left_out", "targets", "scaling", "options")  # their controls hold something else than the experiment does
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
LEFT_OUT = key_of("left_out")  # the key of the list of clients that are left out


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
    _left_out(form)
    _data(form)
    below_rounds = _length(form)
    _training(form)
    if with_method:
        _ingredients(form)
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
    for name in {field.name for field in fields(Experiment)} - set(CONVERTED):
        state[key_of(name)] = getattr(experiment, name)
    listed = not isinstance(experiment.ranks, str)
    state[key_of("profile")] = OWN_RANKS if listed else experiment.ranks
    state[key_of("ranks")] = ", ".join(map(str, experiment.client_ranks))
    state[LEFT_OUT] = list(experiment.left_out)
    state[key_of("targets")] = list(experiment.targets)
    state[key_of("scaling")] = "" if experiment.scaling is None else str(experiment.scaling)
    fill_switchboard(experiment.method, experiment.options)


def _take_over_link() -> None:
    """At first, and whenever a link was opened, the controls take the link's values."""
    found = url.opened()
    if found:
        fill(found[0])
        url.problems().clear()
        url.problems().update(found[1])
    elif key_of("method") not in st.session_state:
        fill(Experiment())


def _task_and_method(form: Form, with_method: bool) -> None:
    with form.field("task"):
        choice(form, "task", "Task", list(TASKS), {name: card.title for name, card in TASKS.items()})
    with form.field("backbone", "data"):
        _backbone(form, TASKS[form.values["task"]])
    if not with_method:
        return
    with form.field("method"):
        choice(form, "method", "Method", list(METHODS), {name: method.title for name, method in METHODS.items()})
        mode_control(form.values["method"])


def _backbone(form: Form, card: TaskCard) -> None:
    """Which frozen model, where there is a choice, and where files come from, where there are any to fetch."""
    state, titles = st.session_state, {name: backbone.title for name, backbone in card.backbones.items()}
    if not card.fits(state.get(key_of("backbone")) or ""):
        state[key_of("backbone")] = card.backbone  # another task was chosen
    named = state[key_of("backbone")]
    st.caption(card.about)
    if len(titles) > 1 or card.any_backbone:
        allowed = list(dict.fromkeys([*titles, named]))
        choice(form, "backbone", "Backbone", allowed, titles, accept_new_options=card.any_backbone)
    chosen = card.backbones.get(form.values.get("backbone") or card.backbone)
    if card.download:
        form.values["data"] = text_line("data", "Data folder", "data/cache", help=explain("data"))
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
                format_func=PROFILES.__getitem__,
                **look,
                **(kept("ranks") | {"key": key_of("profile")}),
            )
        if profile == OWN_RANKS:
            form.values["ranks"] = _numbers(text_line("ranks", "One rank per client", "2, 4, 8"))
        else:
            form.values["ranks"] = profile
    if profile == OWN_RANKS:
        return
    with form.field("clients"):
        most = min(MOST_CLIENTS, TASKS[form.values["task"]].train_samples)
        number(form, "clients", "Clients", 1, most, help=explain("client"))


def _left_out(form: Form) -> None:
    """Clients that never take part; those that no longer exist are forgotten."""
    named = form.values["ranks"]
    count = int(form.values.get("clients") or 1) if isinstance(named, str) else len(named)
    ranks = profile_ranks(named, count) if isinstance(named, str) else named
    state = st.session_state
    state[LEFT_OUT] = [k for k in state.get(LEFT_OUT, ()) if k < count]
    with form.field("left_out"):
        form.values["left_out"] = st.multiselect(
            "Leave out",
            range(count),
            format_func=lambda k: f"client {k + 1} (rank {ranks[k]})",
            placeholder="nobody",
            help=explain("left out"),
            **kept("left_out"),
        )


def _data(form: Form) -> None:
    with form.field("skew"):
        choice(form, "skew", "Who holds what", list(SKEWS), SKEW_NAMES)
    with form.field("alpha", "shards"):
        if form.values["skew"] in ("label", "quantity"):
            extra = st.session_state.setdefault("alphas_from_links", set())
            extra.add(st.session_state.setdefault(key_of("alpha"), Experiment().alpha))
            with form.named("alpha", "Dirichlet α", explain("alpha")) as look:
                form.values["alpha"] = st.select_slider(
                    "Dirichlet α",
                    sorted({*ALPHAS, *extra}),
                    format_func=lambda alpha: f"{alpha:g}",
                    **look,
                    **kept("alpha"),
                )
        elif form.values["skew"] == "shards":
            number(form, "shards", "Shards per client", 1, 100, help=explain("shards"))
    with form.field("noisy_clients"):
        number(form, "noisy_clients", "Noisy clients", 0, MOST_CLIENTS, help=explain("noisy clients"))


def _length(form: Form) -> DeltaGenerator:
    """Rounds and seed; leaves a place under them."""
    left, right = st.columns(2)
    with left, form.field("rounds"):
        number(form, "rounds", "Rounds", 1, 10_000, help=explain("round"))
    with right, form.field("seed"):
        number(form, "seed", "Seed", 0, 2**31 - 1, help=explain("seed"))
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
    wrong = bool(TRAINING & url.problems().keys())
    with unless_hidden("training"), st.expander("Training", icon=":material/fitness_center:", expanded=wrong):
        with form.field("participation"):
            number(form, "participation", "Participation", 0.001, 1.0, step=0.1, format="%.3g", help=explain("participation"))
        with form.field("local_steps"):
            number(form, "local_steps", "Local steps per round", 0, 100_000, help=explain("local steps"))
        with form.field("local_epochs"):
            empty = {"value": None, "placeholder": "steps instead"}
            number(form, "local_epochs", "Local epochs per round", 1, 1_000, help=explain("local epochs"), **empty)
        with form.field("batch_size"):
            number(form, "batch_size", "Batch size", 1, 4_096, help=explain("batch size"))
        with form.field("optimizer"):
            choice(form, "optimizer", "Optimizer", list(OPTIMIZERS), OPTIMIZERS)
        with form.field("lr"):
            number(form, "lr", "Learning rate", 0.0, 10.0, step=0.0005, format="%.4g", help=explain("learning rate"))
        with form.field("scaling"):
            form.values["scaling"] = _scaling(text_line("scaling", "Scaling s", "the method's own", help=explain("scaling")))
        with form.field("targets"):
            linears = _linears(form)
            form.values["targets"] = st.multiselect("Adapted layers", linears, help=explain("targets"), **kept("targets"))
        with form.field("adapter"):
            about = explain("start adapter")
            form.values["adapter"] = text_line("adapter", "Start from adapter", "a folder; empty: from the backbone", help=about)
        with form.field("engine"):
            choice(form, "engine", "Engine", list(ENGINES), {name: text.capitalize() for name, text in ENGINES.items()})
        with form.field("device"):
            choice(form, "device", "Device", list(DEVICES), {})
        with form.field("precision"):
            choice(form, "precision", "Precision", list(PRECISIONS), {})


def _ingredients(form: Form) -> None:
    with form.field("options", "ingredients"), st.expander("Ingredients", icon=":material/tune:"):
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


def _scaling(text: str) -> float | str | None:
    try:
        return float(text) if text.strip() else None
    except ValueError:
        return text.strip()

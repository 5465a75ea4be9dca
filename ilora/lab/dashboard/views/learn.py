"""A lesson on the screen: predict, run, observe, explain. What it says and asks stands in ilora/lab/content/lessons/."""

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from ilora.experiment import Experiment
from ilora.lab import figures
from ilora.lab.analysis.measures import MEASURES
from ilora.lab.captions.comparison import compare
from ilora.lab.content.classroom import Answer, Classroom
from ilora.lab.content.glossary import explain_all
from ilora.lab.content.lessons import Lesson, Step, all_lessons
from ilora.lab.dashboard import data_access, url
from ilora.lab.dashboard.charts.block import draw
from ilora.lab.dashboard.charts.catalogue import CHARTS, View
from ilora.lab.dashboard.charts.view import Reading
from ilora.lab.dashboard.run_group import Group, progress, refusal_kept, show_refusal, submit, watch
from ilora.lab.figures import Trace
from ilora.lab.runs import pool
from ilora.lab.runs.store import Run

SEED = "learn.seed"
MEASURED = {  # the chart of the catalogue that explains a measure
    "accuracy": "accuracy",
    "aggregation_error": "error",
    "alignment": "alignment-over-rounds",
    "cosine": "cosine",
    "drift": "drift-over-rounds",
    "effective_rank": "effective-rank",
    "megabytes_up": "traffic",
}
Answers = Mapping[tuple[str, int], Answer]


def overview(room: Classroom, learner: str) -> None:
    """All lessons, each with how far the learner is."""
    answers = room.answers(learner)
    with st.grid("auto", min_column_width=320, gap="small"):
        for number, lesson in enumerate(all_lessons().values(), start=1):
            with st.container(border=True, height="stretch", vertical_alignment="distribute", key=f"lesson.{lesson.id}"):
                st.markdown(f"##### {number}. {lesson.title}\n{lesson.question}")
                with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                    st.caption(f"{lesson.minutes} minutes · {standing(lesson, answers)}", width="content")
                    done = _answered(lesson, answers)
                    label = "Start" if not done else "Go on" if done < len(lesson.steps) else "Look again"
                    st.button(label, key=f"learn.open.{lesson.id}", on_click=_open, args=(lesson.id,), help=lesson.title)


def standing(lesson: Lesson, answers: Answers) -> str:
    """How far a learner is with a lesson, in words."""
    done = _answered(lesson, answers)
    if not done:
        return "not begun"
    good = sum(bool(answers[lesson.id, i].good) for i in range(len(lesson.steps)) if (lesson.id, i) in answers)
    return f"{done} of {len(lesson.steps)} answered, {good} predicted"


def lesson_view(lesson: Lesson, room: Classroom, learner: str, code: str) -> None:
    """One lesson, redrawn every second while its runs train."""
    seed = int(st.session_state.setdefault(SEED, 0))
    experiments = lesson.experiments(seed)
    watch(lambda: find_runs(experiments), lambda runs: _lesson(lesson, seed, room, learner, code, runs))


def find_runs(experiments: Mapping[str, Experiment]) -> dict[str, Run]:
    """The newest stored run that has not failed of each experiment that has one: what was run once need not be run again."""
    stored = [run for run in data_access.store().runs() if run.active or run.status == "finished"]
    newest = {run.experiment_json: run for run in reversed(stored)}
    texts = {arm: experiment.to_json() for arm, experiment in experiments.items()}
    return {arm: newest[text] for arm, text in texts.items() if text in newest}


def _lesson(lesson: Lesson, seed: int, room: Classroom, learner: str, code: str, runs: Group) -> None:
    """The questions, up to the first that is open or whose runs still train."""
    answers = room.answers(learner)
    st.markdown(lesson.intro, help=explain_all(lesson.intro) or None)
    _arms(lesson, seed)
    for number, step in enumerate(lesson.steps):
        with st.container(border=True, key=f"step.{number}"):
            st.markdown(f"##### Question {number + 1} of {len(lesson.steps)}")
            given = answers.get((lesson.id, number))
            if given is None:
                _predict(lesson, number, step, room, learner, code)
                return
            _observe(lesson, number, step, given, runs, room, learner)
            if not _finished(lesson, runs):
                return
    _end(lesson, seed, room, learner)


def _arms(lesson: Lesson, seed: int) -> None:
    """What is run and compared."""
    lines = "\n".join(f"- {label}" for label in lesson.labels.values())
    one = next(iter(lesson.experiments(seed).values()))
    st.markdown(f"**You compare**\n{lines}")
    st.caption(
        f"{one.clients} clients, {one.rounds} rounds of {one.local_steps} steps, seed {seed}; everything else is the same."
    )


def _predict(lesson: Lesson, number: int, step: Step, room: Classroom, learner: str, code: str) -> None:
    """Ask before anything is shown."""
    key = f"answer.{lesson.id}.{number}"
    chosen = st.radio(step.ask, list(step.choices), index=None, format_func=step.choices.__getitem__, key=key)
    first = number == 0
    st.button(
        "Answer and run" if first else "Answer and look",
        type="primary",
        icon=":material/play_arrow:" if first else ":material/visibility:",
        key=f"lock.{number}",
        disabled=chosen is None,
        on_click=_lock,
        args=(lesson, number, key, room, learner, code),
        help="Your first answer counts. Then you see what really happens.",
    )


def _lock(lesson: Lesson, number: int, key: str, room: Classroom, learner: str, code: str) -> None:
    """Keep the answer that stands there now: it may have changed since the button was drawn."""
    room.answer(learner, code, lesson.id, number, st.session_state[key])
    start(lesson, int(st.session_state[SEED]))


def start(lesson: Lesson, seed: int) -> None:
    """Put those of the lesson's runs into the queue that nobody has run yet."""
    experiments = lesson.experiments(seed)
    known = find_runs(experiments)
    with refusal_kept():
        for arm, experiment in experiments.items():
            if arm not in known:
                submit(experiment, f"{lesson.title}: {lesson.labels[arm]}", group=f"lesson-{lesson.id}")
            elif known[arm].status == "paused":
                pool.resume(data_access.store(), known[arm].id)


def _observe(lesson: Lesson, number: int, step: Step, given: Answer, runs: Group, room: Classroom, learner: str) -> None:
    """What was predicted, what the runs show, and why."""
    st.markdown(step.ask)
    st.markdown(f"Your prediction: **{step.choices.get(given.choice, given.choice)}**")
    show_refusal()
    if number == 0 and not all(run.status == "finished" for run in runs.values()):
        for arm, run in runs.items():
            progress(lesson.labels[arm], [run])
    if len(runs) < len(lesson.labels):
        st.button("Run", icon=":material/play_arrow:", key="learn.run", type="primary", on_click=start, args=(lesson, _seed()))
        return
    histories = {arm: data_access.history(run) for arm, run in runs.items()}
    if any(len(history) for history in histories.values()):
        _charts(lesson, number, step, runs, histories)
    if _finished(lesson, runs):
        _explain(lesson, number, step, given, histories, room, learner)


def _finished(lesson: Lesson, runs: Group) -> bool:
    return len(runs) == len(lesson.labels) and all(run.status == "finished" for run in runs.values())


def _charts(lesson: Lesson, number: int, step: Step, runs: Group, histories: Mapping[str, pd.DataFrame]) -> None:
    """The charts that the question is about."""
    columns = st.columns(min(2, len(step.charts)))
    for place, name in enumerate(step.charts):
        with columns[place % len(columns)]:
            arm, _, chart = name.partition(":")
            key = f"learn.{lesson.id}.{number}.{place}"
            if chart:
                _one(key, lesson.labels[arm], runs[arm], chart)
            else:
                _together(key, lesson, name, runs, histories)


def _together(key: str, lesson: Lesson, measure: str, runs: Group, histories: Mapping[str, pd.DataFrame]) -> None:
    """One measure of all arms."""
    known = {arm: history for arm, history in histories.items() if len(history)}
    traces = [Trace(lesson.labels[arm], runs[arm].experiment.method, history) for arm, history in known.items()]
    rounds = max(run.rounds for run in runs.values())
    sentence = compare(measure, {lesson.labels[arm]: history for arm, history in known.items()})
    figure = figures.over_rounds(traces, measure, rounds=rounds)
    draw(key, MEASURES[measure].title, figure, sentence, _reading(measure))


def _reading(measure: str) -> Reading:
    """How to read the lines of a measure, a line for each arm."""
    words = f"{MEASURES[measure].about} One line for each of the runs."
    chart = CHARTS.get(MEASURED.get(measure, ""))
    return Reading(words, chart.formula, chart.sources) if chart else Reading(words)


def _one(key: str, label: str, run: Run, name: str) -> None:
    """A chart of one arm after its last finished round."""
    record, facts = data_access.load_round(run, run.done) if run.done else None, data_access.facts(run)
    if record is None or facts is None:
        st.caption(f"{label}: the first round is on its way.")
        return
    chart = CHARTS[name]
    view = View(run, data_access.history(run), record, facts, facts.layers[0])
    draw(key, f"{chart.title}: {label}", chart.figure(view), chart.sentence(view), chart)


def _explain(
    lesson: Lesson,
    number: int,
    step: Step,
    given: Answer,
    histories: Mapping[str, pd.DataFrame],
    room: Classroom,
    learner: str,
) -> None:
    """Hold the prediction against the runs."""
    true = step.check.answer(histories)
    if not true:
        st.info("These runs cannot tell: a number that decides is not defined here.", icon=":material/help:")
        return
    good = given.choice == true
    if given.good != good:
        room.mark(learner, lesson.id, number, good)
    if good:
        st.success(f"You predicted this: {step.choices[true]}", icon=":material/check_circle:")
    else:
        st.warning(f"It turned out otherwise: {step.choices[true]}", icon=":material/lightbulb:")
    st.markdown(step.check.sentence(histories, lesson.labels))
    if true != step.expected:
        usual = step.otherwise or "A few rounds on a few clients are noisy. Try a different seed."
        st.info(f"Most seeds show a different answer: {step.choices[step.expected]} {usual}", icon=":material/casino:")
    st.markdown(step.explain, help=explain_all(step.explain) or None)


def _end(lesson: Lesson, seed: int, room: Classroom, learner: str) -> None:
    """What to take away, and where to go from here."""
    with st.container(border=True, key="learn.end"):
        st.markdown(f"##### What to keep\n{lesson.recap}")
        st.markdown(f"**Try it yourself.** {lesson.try_it}")
        later = _next(lesson)
        with st.container(horizontal=True, gap="small"):
            if later:
                words = f"Next: {later.title}"
                st.button(
                    words, type="primary", icon=":material/arrow_forward:", key="learn.next", on_click=_open, args=(later.id,)
                )
            last = list(lesson.experiments(seed).values())[-1]
            if st.button("To the playground", icon=":material/experiment:", key="learn.play"):
                st.switch_page("pages/playground.py", query_params=last.to_query())
            again, about = "Same lesson, different seed", "Other clients, other batches: does it turn out the same?"
            st.button(again, icon=":material/casino:", key="learn.reseed", on_click=_reseed, args=(lesson, seed + 1), help=about)
            about = "Forget my answers to this lesson."
            over = (lesson, room, learner)
            st.button("Start over", icon=":material/restart_alt:", key="learn.over", on_click=_restart, args=over, help=about)


def _next(lesson: Lesson) -> Lesson | None:
    lessons = list(all_lessons().values())
    place = lessons.index(lesson) + 1
    return lessons[place] if place < len(lessons) else None


def _open(name: str) -> None:
    url.note(lesson=name)
    st.session_state[SEED] = 0


def _reseed(lesson: Lesson, seed: int) -> None:
    st.session_state[SEED] = seed
    start(lesson, seed)


def _restart(lesson: Lesson, room: Classroom, learner: str) -> None:
    room.forget(learner, lesson.id)
    for number in range(len(lesson.steps)):
        st.session_state.pop(f"answer.{lesson.id}.{number}", None)


def _seed() -> int:
    return int(st.session_state[SEED])


def _answered(lesson: Lesson, answers: Answers) -> int:
    return sum((lesson.id, number) in answers for number in range(len(lesson.steps)))

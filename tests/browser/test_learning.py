"""A learner takes a lesson with a wrong and a right answer; a teacher watches; the first page plays its film."""

import re

import pytest
from playwright.sync_api import expect

from ilora.lab.content.lessons import all_lessons
from ilora.lab.runs.store import Store
from tests.factory import store_run

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SECONDS = 120_000


def test_the_film_plays_pauses_and_steps(page):
    tab = page("")
    expect(tab.locator(".ilora-film .js-plotly-plot")).to_be_visible(timeout=60_000)
    tab.get_by_role("button", name="Pause").click()
    caption = tab.locator(".ilora-film p")
    before = caption.inner_text()
    tab.get_by_role("button", name="Next").click()
    expect(caption).not_to_have_text(before)
    tab.get_by_role("button", name="Back").click()
    expect(caption).to_have_text(before)


def test_a_lesson_by_keyboard_with_a_wrong_and_a_right_answer_counted_in_a_room(page, lab):
    """Somebody has run this lesson's experiments before, so that its runs are there at once; in them both arms are alike."""
    for experiment in all_lessons()["drift"].experiments().values():
        store_run(Store(lab.home), experiment, done=experiment.rounds)
    teacher = page("teach")
    teacher.get_by_role("button", name="Open a new room").click()
    link = teacher.get_by_text(re.compile(r"/learn\?room=")).inner_text()
    learner = page(link.split("/", 3)[3])
    learner.locator(".st-key-lesson-drift").get_by_role("button", name="Start").focus()
    learner.keyboard.press("Enter")
    expect(learner.get_by_role("heading", name="Can a client know the global direction?")).to_be_visible()
    choose(learner, 2)  # higher drift
    learner.get_by_text("It turned out otherwise").wait_for(timeout=SECONDS)
    expect(learner.locator(".js-plotly-plot")).to_have_count(2, timeout=SECONDS)
    choose(learner, 1)  # the same accuracy
    learner.get_by_text("You predicted this").wait_for(timeout=SECONDS)
    expect(learner.get_by_text("Client drift in these runs")).to_be_visible(timeout=SECONDS)
    expect(teacher.get_by_text("1 learner has answered so far")).to_be_visible(timeout=60_000)
    expect(teacher.get_by_text("1 answered, 0 of them what most runs show").first).to_be_visible(timeout=60_000)


def choose(tab, place):
    """Pick an answer and send it, without a mouse."""
    radios = tab.get_by_role("radiogroup").last.get_by_role("radio")
    expect(radios.first).to_be_enabled(timeout=SECONDS)
    radios.first.focus()
    tab.keyboard.press("Space")
    for further in range(1, place + 1):
        expect(radios.nth(further - 1)).to_be_checked()
        tab.keyboard.press("ArrowDown")
    expect(radios.nth(place)).to_be_checked()
    button = tab.get_by_role("button", name=re.compile("Answer and"))
    expect(button).to_be_enabled(timeout=SECONDS)
    button.focus()
    tab.keyboard.press("Enter")

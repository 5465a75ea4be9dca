"""The pages that look inside, used as a person uses them: the recorded run, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHART = ".ilora-chart.js-plotly-plot"
SECONDS = 120_000


def press(page, name):
    page.get_by_role("button", name=re.compile(rf"^\s*{name}\b")).first.click()


def test_play_moves_every_chart_and_pauses_at_the_end(page):
    tab = page("collapse?run=recorded&round=13")
    expect(tab.get_by_text("After round 13").first).to_be_visible(timeout=SECONDS)
    press(tab, "Play")
    expect(tab.get_by_text("After round 15").first).to_be_visible(timeout=SECONDS)
    expect(tab.get_by_role("button", name=re.compile(r"^\s*Play\b"))).to_be_visible(timeout=SECONDS)
    expect(tab.locator(CHART)).to_have_count(5)


def test_rounds_are_stepped_by_keyboard(page):
    tab = page("drift?run=recorded&round=5")
    expect(tab.get_by_text("In round 5 the clients go")).to_be_visible(timeout=SECONDS)
    expect(tab.locator(CHART)).to_have_count(6, timeout=SECONDS)
    tab.wait_for_timeout(2_000)  # until the page listens to keys
    tab.keyboard.press("l")
    expect(tab.get_by_text("In round 6 the clients go")).to_be_visible(timeout=SECONDS)
    tab.keyboard.press("j")
    expect(tab.get_by_text("In round 5 the clients go")).to_be_visible(timeout=SECONDS)
    tab.wait_for_function("location.search.includes('round=5')")


def test_a_round_is_walked_and_merged_in_two_ways(page):
    tab = page("round?run=recorded&round=15")  # other tests leave runs of other methods in the lab
    for _ in range(3):
        press(tab, "Next step")
        tab.wait_for_timeout(500)
    expect(tab.get_by_text("How shall it make one update of them?")).to_be_visible(timeout=SECONDS)
    tab.get_by_test_id("stMain").get_by_role("button", name=re.compile("^Merge")).last.click()
    expect(tab.get_by_text(re.compile("“Mean of padded factors” loses")).first).to_be_visible(timeout=SECONDS)
    press(tab, "Next step")
    expect(tab.get_by_text("the model goes back")).to_be_visible(timeout=SECONDS)


def test_who_holds_what_follows_the_controls_at_once(page):
    tab = page("data")
    words = tab.get_by_text(re.compile(r"A client holds [\d.]+ of 10 classes on average"))
    expect(words).to_be_visible(timeout=SECONDS)
    before = words.inner_text()
    seed = tab.get_by_role("spinbutton", name="Seed")
    seed.fill("7")
    seed.press("Enter")
    expect(words).not_to_have_text(before, timeout=SECONDS)


def test_toy_texts_sentences_stand_on_the_clients_cards_and_follow_the_seed(page):
    tab = page("data")
    tab.get_by_role("combobox", name="Task").first.click()
    tab.get_by_role("option", name="Toy text", exact=True).click()
    card = tab.locator(".st-key-data-card-0")
    expect(card.get_by_text("Client 1 (rank 2)")).to_be_visible(timeout=SECONDS)
    sentence = card.get_by_test_id("stText").first
    expect(sentence).to_be_visible(timeout=SECONDS)
    before = sentence.inner_text()
    seed = tab.get_by_role("spinbutton", name="Seed")
    seed.fill("7")
    seed.press("Enter")
    expect(sentence).not_to_have_text(before, timeout=SECONDS)

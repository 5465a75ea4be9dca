"""The pages that look inside, used as a person uses them: the recorded run, in a real browser."""

import re

import pytest
from playwright.sync_api import expect

from ilora.lab.runs.store import Store
from tests.factory import store_variants

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHART = ".ilora-chart.js-plotly-plot"
SECONDS = 120_000


def press(page, name):
    page.get_by_role("button", name=re.compile(rf"^\s*{name}\b")).first.click()


def set_seed(page, seed):
    field = page.get_by_role("spinbutton", name="Seed")
    field.fill(str(seed))
    field.press("Enter")


def test_play_moves_every_chart_and_pauses_at_the_end(page):
    tab = page("collapse?run=recorded&round=13")
    expect(tab.get_by_text("After round 13").first).to_be_visible(timeout=SECONDS)
    press(tab, "Play")
    expect(tab.get_by_text("After round 15").first).to_be_visible(timeout=SECONDS)
    expect(tab.get_by_role("button", name=re.compile(r"^\s*Play\b"))).to_be_visible(timeout=SECONDS)
    expect(tab.locator(CHART)).to_have_count(5)


def test_rounds_are_stepped_by_keyboard(page):
    tab = page("drift?run=recorded&round=5")
    expect(tab.get_by_text(re.compile(r"is furthest from the mean update.*round 5"))).to_be_visible(timeout=SECONDS)
    expect(tab.locator(CHART)).to_have_count(6, timeout=SECONDS)
    tab.wait_for_timeout(2_000)  # until the page listens to keys
    tab.keyboard.press("l")
    expect(tab.get_by_text(re.compile(r"is furthest from the mean update.*round 6"))).to_be_visible(timeout=SECONDS)
    tab.keyboard.press("j")
    expect(tab.get_by_text(re.compile(r"is furthest from the mean update.*round 5"))).to_be_visible(timeout=SECONDS)
    tab.wait_for_function("location.search.includes('round=5')")


def test_a_round_is_walked_and_merged_in_two_ways(page):
    tab = page("round?run=recorded&round=15")  # other tests leave runs of other methods in the lab
    for words in ("steps of", "sends its factors", "How should it aggregate them?"):
        press(tab, "Next step")
        expect(tab.get_by_text(words).first).to_be_visible(timeout=SECONDS)
    tab.get_by_test_id("stMain").get_by_role("button", name=re.compile("^Merge")).last.click()
    expect(tab.get_by_text(re.compile("“Mean of padded factors” loses")).first).to_be_visible(timeout=SECONDS)
    press(tab, "Next step")
    expect(tab.get_by_text("the model goes back")).to_be_visible(timeout=SECONDS)


def test_who_holds_what_follows_the_controls_at_once(page):
    tab = page("data")
    words = tab.get_by_text(re.compile(r"A client holds [\d.]+ of 10 classes on average"))
    expect(words).to_be_visible(timeout=SECONDS)
    before = words.inner_text()
    set_seed(tab, 7)
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
    set_seed(tab, 7)
    expect(sentence).not_to_have_text(before, timeout=SECONDS)


def test_the_rules_answer_to_sliders_by_keyboard(page):
    tab = page("aggregation")
    sentence = tab.get_by_text(re.compile(r"With \d clients of ranks 2 to 8, averaging A and B loses"))
    expect(sentence).to_contain_text("With 4 clients", timeout=SECONDS)
    tab.get_by_role("slider", name=re.compile("^Clients")).press("ArrowRight")
    expect(sentence).to_contain_text("With 5 clients", timeout=SECONDS)
    before = sentence.inner_text()
    tab.get_by_role("slider", name="Inner rotation").press("End")
    expect(tab.get_by_text("The clients' slots are not turned")).to_have_count(0, timeout=SECONDS)
    expect(sentence).not_to_have_text(before, timeout=SECONDS)


def test_subspaces_follow_the_round_and_the_layer(page):
    tab = page("subspaces?run=recorded&round=3")
    sentence = tab.get_by_text(re.compile("shares least with the others in"))
    expect(sentence).to_contain_text("round 3", timeout=SECONDS)
    press(tab, "Next")
    expect(sentence).to_contain_text("round 4", timeout=SECONDS)
    layer = sentence.inner_text().split("others in ")[1].split(",")[0]
    choice = tab.get_by_role("combobox", name=re.compile("Layer"))
    choice.click()
    choice.press("ArrowDown")
    choice.press("Enter")
    expect(sentence).not_to_contain_text(f"others in {layer},", timeout=SECONDS)
    expect(sentence).to_contain_text("round 4")


def test_the_ensemble_is_asked_about_another_sample(page):
    tab = page("uncertainty?run=recorded&round=15")
    said = tab.locator(".st-key-block-ensemble [data-testid=stCaptionContainer]")
    expect(said).to_contain_text("clients say", timeout=SECONDS)
    before = said.inner_text()
    tab.get_by_role("slider", name=re.compile("Test sample")).press("End")
    expect(said).not_to_have_text(before, timeout=SECONDS)
    expect(tab.get_by_role("img", name=re.compile("Test sample"))).to_be_visible()


def test_rewards_speak_before_a_run_and_draw_the_variants_after(page, lab):
    tab = page("rewards?rounds=2&clients=4")
    expect(tab.get_by_text("Nothing has been run yet.")).to_be_visible(timeout=SECONDS)
    store_variants(Store(lab.home), "mor")
    tab.get_by_role("radio", name="A router of rewards").click()
    expect(tab.get_by_text("The router gives client 1 most weight, 40 %.")).to_be_visible(timeout=SECONDS)
    expect(tab.locator(CHART)).to_have_count(2, timeout=SECONDS)

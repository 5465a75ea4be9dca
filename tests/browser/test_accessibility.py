"""axe-core finds no serious violation of WCAG 2.2 AA on any page, in either theme; pages can be walked by keyboard."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ilora.lab.dashboard.navigation import MENU
from tests.conftest import IDLE

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PAGES = ["" if file == "home" else file for pages in MENU.values() for file in pages]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
# Streamlit's own colours, which no setting reaches (see the page Limits): the keys named on a button, and in the dark theme the
# label of what is selected, which has the colour that also lies under white labels. And a wide formula, which scrolls but is not
# reached by Tab; a screen reader has its MathML.
UPSTREAM = ("<kbd", "segmented_controlActive", "pillsActive", "katex-display")
SELECTED = "#0a79bc"


def found(page):
    """Serious and critical violations, one line each, but those of Streamlit's own colours."""
    lines = []
    for violation in Axe().run(page, options=RULES).response["violations"]:
        for node in violation["nodes"] if violation["impact"] in ("serious", "critical") else ():
            colours = [check["data"] for check in node["any"] if check["id"] == "color-contrast"]
            selected = any(data["fgColor"] == SELECTED for data in colours)
            if not selected and not any(sign in node["html"] for sign in UPSTREAM):
                lines.append(f"{violation['id']}: {node['html'][:160]}")
    return lines


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_has_no_serious_violation(page, path, theme):
    tab = page(path)
    tab.emulate_media(color_scheme=theme)
    tab.reload()
    tab.wait_for_selector(IDLE, timeout=60_000)
    expect(tab.get_by_role("heading", level=1)).to_be_visible()
    tab.wait_for_timeout(1_500)  # charts and their theme
    assert found(tab) == []


def test_a_page_without_a_name_for_a_button_would_be_found(page):
    tab = page("glossary")
    tab.evaluate("document.querySelector('[data-testid=stApp]').append(document.createElement('button'))")
    assert any(line.startswith("button-name") for line in found(tab))


def test_the_first_page_is_walked_by_keyboard(page):
    tab = page("")
    reached = set()
    for _ in range(40):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate("document.activeElement.innerText").strip())
    assert {"Pause", "Next", "Play", "Learn", "Compare", "Look up"} <= {text.split("\n")[-1] for text in reached} | reached

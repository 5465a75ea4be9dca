"""The glossary: one explanation per term, on one page and on hover."""

from ilora.lab.analysis.measures import MEASURES
from ilora.lab.content.glossary import GLOSSARY, explain_all


def said(app):
    return " ".join(element.value for element in app.markdown)


def test_every_term_stands_on_the_page_and_the_search_narrows(open_app):
    app = open_app("glossary")
    assert all(text in said(app) for text in GLOSSARY.values())
    app.text_input(key="glossary.find").set_value("principal").run()
    assert GLOSSARY["principal angle"] in said(app)
    assert GLOSSARY["seed"] not in said(app)


def test_a_search_that_finds_nothing_says_so(open_app):
    app = open_app("glossary")
    app.text_input(key="glossary.find").set_value("zebra").run()
    assert "No explanation" in app.info[0].value


def test_a_text_is_explained_by_the_terms_in_it_each_once():
    text = explain_all("Client drift, drift and principal angles: a clientele.")
    assert text.count("\n") == 1
    assert GLOSSARY["client drift"] in text
    assert GLOSSARY["principal angle"] in text
    assert explain_all("Nothing of ours.") == ""


def test_every_headline_number_can_be_explained():
    assert all(explain_all(words.title) or words.about for words in MEASURES.values())


def test_a_valve_called_alpha_is_not_taken_for_dirichlets():
    assert "Dirichlet" not in explain_all("The valve, alpha.")
    assert "Dirichlet" in explain_all("The Dirichlet parameter.")

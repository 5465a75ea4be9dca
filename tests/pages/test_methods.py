"""Methods: a card for each, with provenance and code."""

from ilora.lab.content.reading_path import steps
from ilora.lab.dashboard.charts.block import SHORT
from ilora.methods import METHODS, PROVENANCE


def said(app):
    return " ".join(element.value for element in [*app.markdown, *app.caption])


def test_every_method_has_a_card_with_its_badge_and_code(open_app):
    app = open_app("methods")
    text = said(app)
    for method in METHODS.values():
        assert method.title in text
        assert method.idea in text
        assert method.paper in text
        assert SHORT.get(method.provenance, PROVENANCE[method.provenance])[1:] in text
    assert "[alibaba/FederatedScope@4643e1a](https://github.com/alibaba/FederatedScope/tree/4643e1a)" in text
    code = " ".join(block.value for block in app.code)
    assert "def concatenated_qr" in code
    assert "def truncated_svd" in code


def test_the_list_can_be_searched(open_app):
    app = open_app("methods")
    app.text_input(key="methods.find").set_value("flexlora").run()
    assert "FlexLoRA" in said(app)
    assert "FedIT" not in said(app)


def test_the_same_methods_stand_in_one_table_that_the_search_narrows(open_app):
    app = open_app("methods")
    app.segmented_control(key="methods.view").set_value("Table").run()
    assert list(app.dataframe[0].value["Method"]) == [method.title for method in METHODS.values()]
    assert {
        "Authors",
        "Year",
        "Formulas",
        "Source",
        "Aggregate",
        "Exact?",
        "Mixed ranks",
        "Download, floats",
        "Cost of a round",
    } <= set(app.dataframe[0].value)
    app.text_input(key="methods.find").set_value("flexlora").run()
    assert list(app.dataframe[0].value["Method"]) == ["FlexLoRA", "HLoRA"]


def test_a_search_that_finds_nothing_says_so(open_app):
    app = open_app("methods")
    app.text_input(key="methods.find").set_value("no such method").run()
    assert "No method fits these words." in [element.value for element in app.info]


def test_the_algorithm_is_read_function_by_function(open_app):
    app = open_app("methods")
    offered = app.selectbox(key="methods.step").options
    assert len(offered) == len(steps()) > 20
    last = next(name for name in offered if name.endswith("concatenated_qr"))
    app.selectbox(key="methods.step").set_value(last).run()
    assert not app.exception
    assert any("def concatenated_qr" in code.value for code in app.code)

"""Methods: a card for each, with provenance and code."""

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
        assert PROVENANCE[method.provenance][1:] in text
    code = " ".join(block.value for block in app.code)
    assert "def concatenated_qr" in code
    assert "def truncated_svd" in code


def test_the_list_can_be_searched(open_app):
    app = open_app("methods")
    app.text_input(key="methods.find").set_value("flexlora").run()
    assert "FlexLoRA" in said(app)
    assert "FedIT" not in said(app)

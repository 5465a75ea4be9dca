"""The code shown in the app is the code that runs."""

import inspect

import pytest

from ilora.dashboard.charts import CHARTS
from ilora.ingredients import INGREDIENTS
from ilora.source import source_of

SHOWN = {source for chart in CHARTS.values() for source in chart.sources}
INGREDIENT_CODE = {i.source for stage in INGREDIENTS.values() for i in stage.values() if isinstance(i.source, str)}


@pytest.mark.parametrize("where", sorted(SHOWN | INGREDIENT_CODE))
def test_every_source_that_the_app_shows_exists(where):
    assert source_of(where).lstrip("@").startswith(("def ", "class ", "dataclass"))


def test_the_text_is_that_of_the_function():
    from ilora import sentences

    assert source_of("ilora.sentences:moved") + "\n" == inspect.getsource(sentences.moved)


def test_a_method_is_found_and_dedented():
    from ilora.measures import Measure

    assert source_of("ilora.measures:Measure.show").splitlines()[0] == "def show(self, value: float) -> str:"
    assert "def show" in inspect.getsource(Measure.show)


@pytest.mark.parametrize("where", ["ilora.nowhere:x", "ilora.measures:nothing", "ilora.measures:Measure.nothing", "nothing"])
def test_what_does_not_exist_is_a_lookup_error(where):
    with pytest.raises(LookupError):
        source_of(where)

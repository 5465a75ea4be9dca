"""The code shown in the app is the code that runs."""

import inspect
import re

import pytest

from ilora.lab.content.source import source_of
from tests.conftest import ROOT

SOURCES = [ROOT / "app.py", *ROOT.glob("pages/*.py"), *ROOT.glob("ilora/**/*.py"), *ROOT.glob("ilora/**/*.toml")]
NAMED = {where for path in SOURCES for where in re.findall(r'"(ilora[\w.]*:[\w.]+)"', path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("where", sorted(NAMED))
def test_every_source_that_the_app_shows_exists(where):
    assert source_of(where).lstrip("@").startswith(("def ", "class ", "dataclass"))


def test_the_text_is_that_of_the_function():
    from ilora.lab.captions import rounds

    assert source_of("ilora.lab.captions.rounds:moved") + "\n" == inspect.getsource(rounds.moved)


def test_a_method_is_found_and_dedented():
    from ilora.lab.analysis.measures import Measure

    assert source_of("ilora.lab.analysis.measures:Measure.show").splitlines()[0] == "def show(self, value: float) -> str:"
    assert "def show" in inspect.getsource(Measure.show)


@pytest.mark.parametrize(
    "where", ["ilora.nowhere:x", "ilora.lab.analysis.measures:nothing", "ilora.lab.analysis.measures:Measure.nothing", "nothing"]
)
def test_what_does_not_exist_is_a_lookup_error(where):
    with pytest.raises(LookupError):
        source_of(where)

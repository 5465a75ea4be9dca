"""The app without a browser, on a store of its own and without workers: what is stored is what a test puts there."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ilora.lab.runs import pool
from ilora.lab.runs.store import Store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("ILORA_HOME", str(tmp_path))
    monkeypatch.setattr(pool, "tend", lambda store, most=None: "")
    return Store()


@pytest.fixture
def open_app(store) -> Callable[..., AppTest]:
    """`open_app("compare", alpha="0.1")`: the app at a page and with a link's parameters; it fails on an exception."""

    def open_page(page: str = "playground", **query: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=30)
        if not page:
            app.query_params.update(query)
        app.run()
        if page:
            app.switch_page(f"pages/{page}.py")
            app.query_params.update(query)
            app.run()
        assert not app.exception, app.exception
        return app

    return open_page

"""`python -m ilora app`: the app in the browser, from wherever the package lies."""

import argparse
import importlib.util
import runpy
import sys

from ilora.tasks.places import shipped


def app_command(chosen: argparse.Namespace) -> int:
    """Serve the app until Ctrl-C."""
    if importlib.util.find_spec("streamlit") is None:
        print("python -m ilora app: streamlit is not installed; `pip install 'ilora[app]'` brings it.", file=sys.stderr)
        return 2
    sys.argv = ["streamlit", "run", str(shipped("app.py")), *_options(chosen)]
    runpy.run_module("streamlit", run_name="__main__", alter_sys=True)
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the verb; all others are Streamlit's, by its own configuration or environment."""
    parser.add_argument("--port", type=int, metavar="N", help="where it is served (default: 8501, or the next that is free)")
    parser.add_argument("--address", metavar="HOST", help="who reaches it (default: this machine only)")
    parser.add_argument("--headless", action="store_true", help="do not open a browser")


def _options(chosen: argparse.Namespace) -> list[str]:
    port = [] if chosen.port is None else ["--server.port", str(chosen.port)]
    address = [] if chosen.address is None else ["--server.address", chosen.address]
    return [*port, *address, *(["--server.headless", "true"] if chosen.headless else [])]

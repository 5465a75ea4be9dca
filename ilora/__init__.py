"""ILoRA Lab: federated learning with LoRA adapters of different ranks.

The names below are the public surface. Whatever needs torch is imported on first use, so that the app, which only looks at
stored runs, starts without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ilora.experiment import Experiment
from ilora.methods import METHODS, Method, register_method
from ilora.plugins import load_plugins

if TYPE_CHECKING:
    from ilora import diagnostics
    from ilora.running import Result, aggregate, run, simulate

__version__ = "0.1.0"
__all__ = ["METHODS", "Experiment", "Method", "Result", "aggregate", "diagnostics", "register_method", "run", "simulate"]

_NEEDS_TORCH = {
    "simulate": "ilora.running",
    "run": "ilora.running",
    "Result": "ilora.running",
    "aggregate": "ilora.running",
}


def __getattr__(name: str) -> Any:
    if name == "diagnostics":
        return import_module("ilora.diagnostics")
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module 'ilora' has no attribute {name!r}")


load_plugins()

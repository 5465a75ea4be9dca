"""ILoRA Lab: federated learning with LoRA adapters of different ranks.

The names below are the public surface. Whatever needs torch is imported on first use, so that the app, which only looks at
stored runs, starts without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ilora.experiment import Experiment
from ilora.methods import METHODS, Method, register_method
from ilora.methods.compatibility import REFUSALS, Clash
from ilora.methods.ingredient import Ingredient, Option
from ilora.methods.plugins import load_plugins

if TYPE_CHECKING:
    from ilora import diagnostics
    from ilora.api import Result, aggregate, run, simulate
    from ilora.lora.aggregation import Aggregate, Upload
    from ilora.lora.factors import Factors
    from ilora.stages.stage import Stage

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "REFUSALS",
    "Aggregate",
    "Clash",
    "Experiment",
    "Factors",
    "Ingredient",
    "Method",
    "Option",
    "Result",
    "Stage",
    "Upload",
    "aggregate",
    "diagnostics",
    "register_method",
    "run",
    "simulate",
]

_NEEDS_TORCH = {
    "simulate": "ilora.api",
    "run": "ilora.api",
    "Result": "ilora.api",
    "aggregate": "ilora.api",
    "Aggregate": "ilora.lora.aggregation",
    "Factors": "ilora.lora.factors",
    "Stage": "ilora.stages.stage",
    "Upload": "ilora.lora.aggregation",
}
_MODULES = {"diagnostics": "ilora.diagnostics", "figures": "ilora.lab.figures", "lessons": "ilora.lab.content.lessons"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name in _NEEDS_TORCH:
        return getattr(import_module(_NEEDS_TORCH[name]), name)
    raise AttributeError(f"module 'ilora' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])


load_plugins()

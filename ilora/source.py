"""The source text of a function or class, read without importing it: the app shows code whose imports it does not need."""

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path


@lru_cache(maxsize=256)
def source_of(where: str) -> str:
    """Text of "package.module:name" with its decorators; LookupError if there is no such module or name."""
    module, _, name = where.partition(":")
    text = _file(module).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1 : node.end_lineno])
    raise LookupError(f"{module} has no function or class called {name!r}.")


def _file(module: str) -> Path:
    """The file of a module; its parent package is imported to find it, the module itself is not."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin:
        raise LookupError(f"there is no module called {module!r}.")
    return Path(spec.origin)

"""The source text of a function or class, read without importing it: the app shows code whose imports it does not need."""

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

Definition = ast.FunctionDef | ast.ClassDef


@lru_cache(maxsize=256)
def source_of(where: str) -> str:
    """Text of "package.module:name" or "package.module:Class.method"; LookupError if there is no such module or name."""
    module, _, path = where.partition(":")
    text = _file(module).read_text(encoding="utf-8")
    body: list[ast.stmt] = ast.parse(text).body
    found: Definition | None = None
    for name in path.split("."):
        found = next((node for node in body if isinstance(node, Definition) and node.name == name), None)
        if found is None:
            raise LookupError(f"{module} has no function or class called {path!r}.")
        body = found.body
    assert found is not None
    first = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
    return dedent("\n".join(text.splitlines()[first - 1 : found.end_lineno]))


def _file(module: str) -> Path:
    """The file of a module; its parent package is imported to find it, the module itself is not."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.origin:
        raise LookupError(f"there is no module called {module!r}.")
    return Path(spec.origin)

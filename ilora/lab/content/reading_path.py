"""The reading path of docs/read-the-algorithm.md, step by step: what one round of ILoRA enters, in the paper's order."""

import re
from functools import lru_cache
from typing import NamedTuple

from ilora.tasks.places import shipped

_ROW = re.compile(r"\| \[`([\w/]+)\.py:([\w.]+)`\]\([^)]*\) \| (.*?) \|(.*)\|$")


class Step(NamedTuple):
    """One function on the path: under which heading it stands, "module:name", what it does, its formula or ""."""

    heading: str
    source: str
    what: str
    formula: str


@lru_cache(maxsize=1)
def steps() -> tuple[Step, ...]:
    """All steps, in their order."""
    heading, found = "", []
    for line in shipped("docs/read-the-algorithm.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line.removeprefix("## ")
        elif row := _ROW.match(line):
            path, name, what, formula = row.groups()
            found.append(Step(heading, f"ilora.{path.replace('/', '.')}:{name}", what, formula.strip()))
    return tuple(found)

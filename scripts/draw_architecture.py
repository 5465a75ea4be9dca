"""Draws docs/architecture.svg: the storeys that pyproject.toml names, and the imports that really run between them."""

import sys
import tomllib
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

import grimp

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PICTURE = ROOT / "docs" / "architecture.svg"
HEAVY = ("torch", "streamlit", "plotly")  # a box says which of them it imports itself
WIDTH, MARGIN, TITLE, STEP, HEIGHT = 960, 24, 30, 80, 44
ABOVE = ("ilora.__main__", "ilora.lab")  # storeys that the lower half of the picture leaves out
ACROSS = {  # where a box stands in its row, 0 to 1, where an even spread would let arrows run behind other boxes
    "ilora.lab.dashboard": 0.24, "ilora.lab.cli": 0.84, "ilora.lab.figures": 0.14, "ilora.lab.suites": 0.84,
    "ilora.lab.captions": 0.14, "ilora.lab.content": 0.34, "ilora.lab.analysis": 0.22, "ilora.lab.runs": 0.74,
    "ilora.clients": 0.26, "ilora.training": 0.74, "ilora.experiment": 0.26, "ilora.methods": 0.2, "ilora.tasks": 0.86,
    "ilora.diagnostics": 0.5, "ilora.lora": 0.22,
    "ilora.checks": 0.28, "ilora.records": 0.5, "ilora.tensor_files": 0.7, "ilora.randomness": 0.9,
}  # fmt: skip
STYLE = """
  text { font: 15px system-ui, sans-serif; fill: #1a1a1a; text-anchor: middle; }
  .heavy { font-size: 11px; fill: #555; }
  .title { font-size: 13px; fill: #555; text-anchor: start; }
  .box { fill: #fff; stroke: #0072b2; stroke-width: 1.5; }
  .lab .box { stroke: #d55e00; }
  .frame { fill: #f6f6f6; stroke: #ccc; }
  .arrow { stroke: #777; stroke-width: 1.3; marker-end: url(#head); }
"""
HEAD = (
    '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 8 4 0 8z" fill="#777"/></marker></defs>'
)


class Box(NamedTuple):
    """A folder or a file of the package, with the centre of its box."""

    module: str
    x: float
    y: float
    heavy: str

    @property
    def name(self) -> str:
        return self.module.rsplit(".", 1)[1]

    @property
    def width(self) -> float:
        return max(96, 9.5 * len(self.name) + 24)


def storeys(container: str) -> list[list[str]]:
    """The modules of each storey under a package, from top to bottom, as the contract in pyproject.toml names them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    layers = next(each["layers"] for each in settings["contracts"] if each.get("containers") == [container])
    rows = [[name.strip() for name in row.split("|")] for row in layers]
    return [[f"{container}.{name}" for name in row if not name.startswith("(")] for row in rows]


def imports_of(graph: grimp.ImportGraph, modules: Iterable[str]) -> dict[str, list[str]]:
    """Which of the modules each one imports, without what follows from the others."""
    modules = list(modules)
    direct = {
        one: [
            other
            for other in modules
            if one != other and graph.direct_import_exists(importer=one, imported=other, as_packages=True)
        ]
        for one in modules
    }
    below: dict[str, set[str]] = {}
    for one in reversed(modules):  # from the lowest storey up
        below[one] = set(direct[one]).union(*(below[other] for other in direct[one]))
    return {one: [other for other in direct[one] if not any(other in below[third] for third in direct[one])] for one in modules}


def heavy_of(graph: grimp.ImportGraph, module: str) -> str:
    parts = {module} | graph.find_descendants(module)
    return ", ".join(name for name in HEAVY if any(name in graph.find_modules_directly_imported_by(part) for part in parts))


def boxes(graph: grimp.ImportGraph, rows: list[list[str]], top: float) -> dict[str, Box]:
    found = {}
    for number, row in enumerate(rows):
        for place, module in enumerate(row):
            across = ACROSS.get(module, (place + 0.5) / len(row))
            x = MARGIN + across * (WIDTH - 2 * MARGIN)
            found[module] = Box(module, round(x, 1), top + number * STEP + HEIGHT / 2, heavy_of(graph, module))
    return found


def arrow(start: Box, end: Box) -> str:
    """From the bottom of one box to the top of another; what lies between hides it."""
    return f'<line class="arrow" x1="{start.x}" y1="{start.y + HEIGHT / 2}" x2="{end.x}" y2="{end.y - HEIGHT / 2}"/>'


def drawn(box: Box) -> list[str]:
    left, top, lift = round(box.x - box.width / 2, 1), box.y - HEIGHT / 2, -2 if box.heavy else 5
    lines = [f'<rect class="box" x="{left}" y="{top}" width="{box.width}" height="{HEIGHT}" rx="6"/>']
    lines.append(f'<text x="{box.x}" y="{box.y + lift}">{escape(box.name)}</text>')
    if box.heavy:
        lines.append(f'<text class="heavy" x="{box.x}" y="{box.y + 14}">{box.heavy}</text>')
    return lines


def part(kind: str, found: Mapping[str, Box], imports: Mapping[str, list[str]]) -> list[str]:
    """The arrows of one part of the picture, and the boxes over them."""
    arrows = [arrow(found[one], found[other]) for one in imports for other in imports[one]]
    return [f'<g class="{kind}">', *arrows, *(line for box in found.values() for line in drawn(box)), "</g>"]


def frame(title: str, top: float, bottom: float) -> list[str]:
    size = f'x="{MARGIN / 2}" y="{top}" width="{WIDTH - MARGIN}" height="{bottom - top}"'
    return [f'<rect class="frame" {size} rx="8"/>', f'<text class="title" x="{MARGIN}" y="{top + 20}">{title}</text>']


def bottom(top: float, rows: list[list[str]]) -> float:
    """Where a frame around these storeys ends."""
    return top + TITLE + (len(rows) - 1) * STEP + HEIGHT + 16


def picture() -> str:
    """The whole picture as SVG; the same code gives the same bytes."""
    graph = grimp.build_graph("ilora", include_external_packages=True, cache_dir=None)
    laboratory, science = storeys("ilora.lab"), [row for row in storeys("ilora") if row and row[0] not in ABOVE]
    lab_top = MARGIN / 2
    top = bottom(lab_top, laboratory) + TITLE
    end = bottom(top, science) + MARGIN / 2
    upper, lower = boxes(graph, laboratory, lab_top + TITLE), boxes(graph, science, top + TITLE)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {end}" role="img">',
        "<title>The storeys of ILoRA Lab</title>",
        f"<style>{STYLE}</style>",
        HEAD,
        f'<rect width="{WIDTH}" height="{end}" fill="#fff"/>',
        *frame("ilora/lab: the laboratory; may import all of the science below", lab_top, bottom(lab_top, laboratory)),
        *frame("ilora: the science; never imports the laboratory", top, bottom(top, science)),
        f'<line class="arrow" x1="{WIDTH / 2}" y1="{top - TITLE}" x2="{WIDTH / 2}" y2="{top}"/>',
        *part("lab", upper, imports_of(graph, upper)),
        *part("science", lower, imports_of(graph, lower)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")

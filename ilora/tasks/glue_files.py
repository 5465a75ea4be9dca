"""The official files of GLUE: where a task's sentences and labels stand, and one clear sentence where a file is wrong.

The files are tab-separated without quoting (Wang et al. 2019, gluebenchmark.com): a quotation mark is a character like any other.
"""

from dataclasses import dataclass
from pathlib import Path

from ilora.tasks import data_error

ENTAILMENT = ("entailment", "not_entailment")


@dataclass(frozen=True)
class Sheet:
    """How one task lies on disk: its folder, the columns that count, and what a label may be."""

    folder: str
    texts: tuple[str, ...]  # columns of the first and, for pairs, the second sentence
    label: str
    labels: tuple[str, ...] = ()  # how the classes are written in the file; empty: a score between 0 and 5
    columns: tuple[str, ...] = ()  # where the file has no header line
    dev: tuple[str, ...] = ("dev",)
    ragged: bool = False  # the official file itself has broken rows, which everybody leaves out


SHEETS: dict[str, Sheet] = {
    "sst2": Sheet("SST-2", ("sentence",), "label", ("0", "1")),
    "cola": Sheet("CoLA", ("sentence",), "label", ("0", "1"), columns=("source", "label", "mark", "sentence")),
    "mrpc": Sheet("MRPC", ("#1 String", "#2 String"), "Quality", ("0", "1")),
    "qnli": Sheet("QNLI", ("question", "sentence"), "label", ENTAILMENT),
    "rte": Sheet("RTE", ("sentence1", "sentence2"), "label", ENTAILMENT),
    "stsb": Sheet("STS-B", ("sentence1", "sentence2"), "score"),
    "qqp": Sheet("QQP", ("question1", "question2"), "is_duplicate", ("0", "1"), ragged=True),
    "mnli": Sheet(
        "MNLI",
        ("sentence1", "sentence2"),
        "gold_label",
        ("entailment", "neutral", "contradiction"),
        dev=("dev_matched", "dev_mismatched"),
    ),
    "wnli": Sheet("WNLI", ("sentence1", "sentence2"), "label", ("0", "1")),
}


@dataclass(frozen=True)
class Rows:
    """What a file says: one tuple of one or two sentences per row, and one label (a class number or a score)."""

    texts: list[tuple[str, ...]]
    labels: list[float]


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        sentence = f"{path} is missing; GLUE's official files have it in the folder {path.parent.name}."
        raise data_error(path, sentence) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise data_error(path, f"{path}, line {line}: not UTF-8 text; fetch the official file again.") from None
    except OSError as error:
        raise data_error(path, f"{path} cannot be read: {error.strerror}.") from error
    if not text.strip():
        raise data_error(path, f"{path} is empty; fetch the official file again.")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _label(sheet: Sheet, written: str) -> float:
    if sheet.labels:
        return float(sheet.labels.index(written))
    score = float(written)
    if not 0 <= score <= 5:
        raise ValueError(written)
    return score


def _position(path: Path, columns: list[str], name: str) -> int:
    if name not in columns:
        header = ", ".join(columns)
        raise data_error(path, f"{path}, line 1: there is no column {name!r}; the header has {header}.")
    return columns.index(name)


def read_sheet(sheet: Sheet, path: Path) -> Rows:
    """The rows of one labelled file; FieldError with file and line where the file is missing, cut off or wrong."""
    lines = _lines(path)
    columns = list(sheet.columns) or lines.pop(0).split("\t")
    texts, label = [_position(path, columns, name) for name in sheet.texts], _position(path, columns, sheet.label)
    allowed = ", ".join(sheet.labels) or "a number from 0 to 5"
    rows = Rows([], [])
    for number, line in enumerate(lines, start=1 if sheet.columns else 2):
        cells = line.split("\t")
        if len(cells) != len(columns):
            if sheet.ragged:
                continue
            cut = "; the last line is cut off" if line is lines[-1] and len(cells) < len(columns) else ""
            sentence = f"{path}, line {number}: {len(cells)} columns where {len(columns)} are expected{cut}."
            raise data_error(path, sentence)
        try:
            rows.labels.append(_label(sheet, cells[label]))
        except ValueError:
            sentence = f"{path}, line {number}: label {cells[label]!r} is not one of: {allowed}."
            raise data_error(path, sentence) from None
        rows.texts.append(tuple(cells[text].strip() for text in texts))
    if not rows.texts:
        raise data_error(path, f"{path} has no rows; fetch the official file again.")
    return rows


def write_sheet(sheet: Sheet, rows: Rows, path: Path) -> None:
    """Rows as an official file, with the columns that count; tabs and line breaks within a sentence become spaces."""
    columns = list(sheet.columns) or [*sheet.texts, sheet.label]
    lines = [] if sheet.columns else ["\t".join(columns)]
    for texts, label in zip(rows.texts, rows.labels, strict=True):
        cells = dict(zip(sheet.texts, (" ".join(text.split()) for text in texts), strict=True))
        cells[sheet.label] = sheet.labels[int(label)] if sheet.labels else str(label)
        lines.append("\t".join(cells.get(column, "") for column in columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")

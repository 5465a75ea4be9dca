"""GLUE in the official formats, but a few made-up rows: what the loaders meet, without a download."""

from pathlib import Path

HEADERS = {
    "SST-2": "sentence\tlabel",
    "CoLA": "",
    "MRPC": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String",
    "QNLI": "index\tquestion\tsentence\tlabel",
    "RTE": "index\tsentence1\tsentence2\tlabel",
    "STS-B": "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
    "QQP": "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
    "MNLI": "index\tpromptID\tpairID\tgenre\tb1\tb2\tp1\tp2\tsentence1\tsentence2\tlabel1\tgold_label",
    "WNLI": "index\tsentence1\tsentence2\tlabel",
}
LABELS = {
    "QNLI": ("entailment", "not_entailment"),
    "RTE": ("entailment", "not_entailment"),
    "STS-B": ("0.000", "5.000"),
    "MNLI": ("entailment", "neutral", "contradiction"),
}
FOLDERS = {"sst2": "SST-2", "cola": "CoLA", "stsb": "STS-B"}
ADJECTIVES = ("good", "bad", "dull", "fine", "great", "poor")


def folder_of(name: str) -> str:
    """The official folder of the task called `name`."""
    return FOLDERS.get(name, name.upper())


def row(folder: str, i: int) -> str:
    """One line of a file; a quotation mark opens now and then, and is never closed."""
    labels = LABELS.get(folder, ("0", "1"))
    label, word = labels[i % len(labels)], ADJECTIVES[i % len(ADJECTIVES)]
    first, second = f'the "film number {i} is {word} ' + "indeed " * (i % 4), f"film {i} was {word} ."
    cells = {
        "SST-2": [first, label],
        "CoLA": ["gj04", label, "" if label == "1" else "*", first],
        "MRPC": [label, "1", "2", first, second],
        "STS-B": [str(i), "news", "f", "2012", "1", "none", "none", first, second, label],
        "QQP": [str(i), "1", "2", first, second, label],
        "MNLI": [str(i), "1", "2", "fiction", "(", "(", "(", "(", first, second, label, label],
    }
    return "\t".join(cells.get(folder, [str(i), first, second, label]))


def write(place: Path, name: str, train: int = 24, dev: int = 12) -> Path:
    """Fill `place` with the official files of one task; its folder."""
    folder = folder_of(name)
    splits = {"train": train, **dict.fromkeys(("dev_matched", "dev_mismatched") if name == "mnli" else ("dev",), dev)}
    (place / folder).mkdir(parents=True)
    for i, (split, rows) in enumerate(splits.items()):
        lines = [HEADERS[folder]] * bool(HEADERS[folder]) + [row(folder, 100 * i + k) for k in range(rows)]
        (place / folder / f"{split}.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return place / folder

"""Official GLUE files are read as they are, and what is wrong with one is said with file and line."""

import pytest

from ilora.checks import FieldError
from ilora.tasks.glue_files import SHEETS, Rows, read_sheet, write_sheet
from tests.tasks import glue_standin

SST2 = SHEETS["sst2"]


def read(tmp_path, text: str | bytes, sheet=SST2):
    path = tmp_path / "train.tsv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_sheet(sheet, path)


@pytest.mark.parametrize("name", SHEETS)
def test_every_official_layout_is_read_row_by_row(tmp_path, name):
    folder, sheet = glue_standin.write(tmp_path, name), SHEETS[name]
    for split in ("train", *sheet.dev):
        rows = read_sheet(sheet, folder / f"{split}.tsv")
        assert len(rows.texts) == len(rows.labels) == (24 if split == "train" else 12)
        assert all(len(texts) == len(sheet.texts) for texts in rows.texts)
        assert set(rows.labels) == ({0.0, 5.0} if not sheet.labels else set(map(float, range(len(sheet.labels)))))


def test_a_quotation_mark_is_a_character_and_a_line_separator_within_a_sentence_ends_no_row(tmp_path):
    rows = read(tmp_path, 'sentence\tlabel\n"stray quote\t1\nline\u2028separator\t0\nit \'s "fine" \t1\n')
    assert rows.texts == [('"stray quote',), ("line\u2028separator",), ('it \'s "fine"',)]
    assert rows.labels == [1, 0, 1]


def test_windows_line_ends_a_byte_order_mark_and_a_missing_last_line_end_are_no_fault(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbfsentence\tlabel\r\ngood\t1\r\nbad\t0").labels == [1, 0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("sentence\tlabel\n", "has no rows"),
        ("sentence\tstars\ngood\t1\n", "line 1: there is no column 'label'; the header has sentence, stars"),
        ("sentence\tlabel\ngood\t1\nbad\n", "line 3: 1 columns where 2 are expected; the last line is cut off"),
        ("sentence\tlabel\nbad\ngood\t1\n", "line 2: 1 columns where 2 are expected."),
        ("sentence\tlabel\ngood\tfilm\t1\n", "line 2: 3 columns where 2 are expected"),
        ('sentence\tlabel\n"good\t1"\n', "line 2: label '1\"' is not one of: 0, 1"),
        ("sentence\tlabel\ngood\t2\n", "line 2: label '2' is not one of: 0, 1"),
        (b"sentence\tlabel\ngood\t1\nb\xff\t0\n", "line 3: not UTF-8"),
    ],
)
def test_a_wrong_file_is_named_with_its_line(tmp_path, text, said):
    with pytest.raises(ValueError, match=r"train\.tsv") as caught:
        read(tmp_path, text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("score", ["5.1", "-0.1", "nan", "much"])
def test_a_score_is_a_number_from_0_to_5(tmp_path, score):
    folder = glue_standin.write(tmp_path, "stsb")
    text = (folder / "dev.tsv").read_text().replace("5.000", score, 1)
    with pytest.raises(ValueError, match=rf"line 3: label '{score}' is not one of: a number from 0 to 5"):
        read(tmp_path, text, SHEETS["stsb"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FieldError, match=r"dev\.tsv is missing"):
        read_sheet(SST2, tmp_path / "SST-2" / "dev.tsv")


def test_only_qqp_may_have_broken_rows_which_are_left_out(tmp_path):
    text = (glue_standin.write(tmp_path, "qqp") / "train.tsv").read_text()
    assert len(read(tmp_path, text + "half a\tquestion\n", SHEETS["qqp"]).texts) == 24


@pytest.mark.parametrize("name", SHEETS)
def test_what_is_written_is_read_back(tmp_path, name):
    sheet = SHEETS[name]
    texts = [tuple(f'{k} "of"\ttwo\nlines' for k in range(len(sheet.texts)))]
    write_sheet(sheet, Rows(texts, [1.0]), tmp_path / "x" / "train.tsv")
    rows = read_sheet(sheet, tmp_path / "x" / "train.tsv")
    assert rows.labels == [1.0]
    assert rows.texts == [tuple(f'{k} "of" two lines' for k in range(len(sheet.texts)))]


PUBLISHED = {
    "sst2": (67_349, 872),
    "cola": (8_551, 1_043),
    "mrpc": (3_668, 408),
    "rte": (2_490, 277),
    "stsb": (5_749, 1_500),
    "wnli": (635, 71),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_real_files_have_the_published_number_of_rows(shared_data, name):
    folder = shared_data / "glue" / SHEETS[name].folder
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    assert tuple(len(read_sheet(SHEETS[name], folder / f"{split}.tsv").texts) for split in ("train", "dev")) == PUBLISHED[name]

"""Tables as spreadsheets, scripts and people in many countries write them: read with a note, or one clear message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mse.config import Dataset, parse
from mse.corpus import Corpus, read_corpus, read_manifest, write_manifest
from mse.corpus.encoding import clean
from mse.corpus.guess import new
from mse.corpus.numbers import plain_numbers
from mse.errors import UserError
from tests.written import COLUMNS, HEADER, HEARD, ROWS, TEXTS, make_folder

Opened = tuple[Corpus, Corpus, str]
Open = Callable[..., Opened]


def semicolons(table: str) -> str:
    return table.replace(",", ";")


def tabs(table: str) -> str:
    return table.replace(",", "\t")


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path)


@pytest.fixture()
def opened(folder: Path, tmp_path: Path) -> Open:
    """Read a table with a YAML written by hand and with a guessed one, through to the manifest."""

    def opening(table: str | bytes, name: str = "t.csv", columns: dict[str, Any] | None = None, **keys: Any) -> Opened:
        (folder / name).write_bytes(table if isinstance(table, bytes) else table.encode())
        described = {"tables": [{"file": name, **keys}], "columns": COLUMNS | (columns or {}), "split": {"by": "split"}}
        described |= {"root": str(folder), "task": {"kind": "intensity"}, "prompt": "?"}
        by_hand = read_corpus(parse(Dataset, described, "hand.yaml"))
        text = new("mine", folder)
        guessed = read_corpus(parse(Dataset, yaml.safe_load(text) | HEARD, "guess.yaml"))
        for corpus in (by_hand, guessed):
            write_manifest(corpus.clips, corpus.excluded, tmp_path / "m.csv")
            assert read_manifest(tmp_path / "m.csv")["text"].tolist() == corpus.clips["text"].tolist()
        pd.testing.assert_series_equal(by_hand.clips["label"], guessed.clips["label"])
        return by_hand, guessed, text

    return opening


EXCEL: dict[str, tuple[str | bytes, str, dict[str, Any], list[str]]] = {
    "empty columns at the end": (
        HEADER.replace("\r", ",,,\r") + ROWS.replace("\r", ",,,\r"),
        "t.csv",
        {},
        ["empty columns without a name are skipped: 3"],
    ),
    "an empty column in the middle": (
        HEADER.replace("text", ",text") + ROWS.replace(".ogg", ".ogg,"),
        "t.csv",
        {},
        ["empty columns without a name are skipped: 1"],
    ),
    "empty rows": (HEADER + ",,,,\r\n" + ROWS + ",,,,\r\n \t,,,,,,\r\n", "t.csv", {}, ["empty rows are skipped: 3"]),
    "sep=;": (
        "sep=;\r\n" + semicolons(HEADER + ROWS),
        "t.csv",
        {},
        ["first line gives the delimiter (';')"],
    ),
    "a marked sep=,": (b"\xef\xbb\xbf" + f'"sep=,"\r\n{HEADER + ROWS}'.encode(), "t.csv", {}, ["delimiter (',')"]),
    "spaces in names": (
        HEADER.replace("text", "text ").replace("label", "\u00a0label"),
        "t.csv",
        {},
        ["'text ' is read as 'text'"],
    ),
    "curly quotes": (HEADER.replace("text", "\u201ctext\u201d"), "t.csv", {}, ["is read as 'text'"]),
    "trailing tabs": (tabs(HEADER) + tabs(ROWS).replace("\r", "\t\t\r"), "t.tsv", {}, []),
    "Unicode text": (
        tabs(HEADER + ROWS).encode("utf-16"),
        "unicode.txt",
        {"delimiter": "\t"},
        ["first bytes say utf-16, so it is read as that"],
    ),
    "old Mac's line ends": ((HEADER + ROWS).replace("\r\n", "\r"), "t.csv", {}, []),
    "pandas' index": (
        "," + HEADER + "".join(f"{n},{row}\r\n" for n, row in enumerate(ROWS.splitlines())),
        "t.csv",
        {},
        [],
    ),
    "comments": (
        "# mine, of May\r\n# v2\r\n" + HEADER + ROWS + "# end\r\n",
        "t.csv",
        {},
        ["lines that begin with # are skipped as comments: 3"],
    ),
}


@pytest.mark.parametrize("kind", EXCEL)
def test_spreadsheets(opened: Open, kind: str) -> None:
    table, name, keys, notes = EXCEL[kind]
    if isinstance(table, str) and "\r\n" in table and table.count("\r\n") == 1:
        table += ROWS
    by_hand, guessed, text = opened(table, name, **keys)
    for corpus in (by_hand, guessed):
        assert corpus.clips["text"].tolist() == TEXTS
        assert corpus.clips["label"].tolist() == ["-1", "0", "1"]
    for note in notes:
        assert any(note in line for line in by_hand.notes), by_hand.notes
        assert note in text
    assert bool(notes) == bool(by_hand.notes)


def test_what_can_be_no_text(folder: Path) -> None:
    described = {"root": str(folder), "tables": [{"file": "t.csv"}], "columns": COLUMNS}
    for content, message in (
        (b"PK\x03\x04\x14\x00", "t.csv: is a spreadsheet or a zip archive, not text; save the table as CSV"),
        (b"\x1f\x8b\x08\x00", "t.csv: is compressed with gzip; decompress it"),
    ):
        (folder / "t.csv").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_corpus(parse(Dataset, described, "hand.yaml"))
    (folder / "labels.xlsx").write_bytes(b"PK\x03\x04")
    assert "# not used: labels.xlsx: a spreadsheet; save it as CSV (UTF-8) to use it" in new("mine", folder)


def test_few_broken_characters_of_utf_8(opened: Open) -> None:
    table = (HEADER + ROWS.replace("hello", "ä ö ü ß é è ç à î ô û")).encode().replace(b"so it is", b"Stra\xdfe")
    by_hand, _, text = opened(table)
    assert by_hand.clips["text"].tolist()[1] == "Stra\ufffde"
    assert by_hand.notes == ["t.csv: broken characters are read as \ufffd: 1 (the first in line 3)"]
    assert "encoding:" not in text


HALVES: dict[str, tuple[bytes, str]] = {
    "escaped": (rb'[{"id": "c0", "file": "0.ogg", "text": "a \ud83d", "label": 1, "split": "train"}', "h.json"),
    "low half": (rb'[{"id": "c0", "file": "0.ogg", "text": "a \ude00", "label": 1, "split": "train"}', "h.json"),
    "NUL": (rb'[{"id": "c0", "file": "0.ogg", "text": "a \u0000", "label": 1, "split": "train"}', "h.json"),
    "a line": (rb'{"id": "c0", "file": "0.ogg", "text": "a \ud83d", "label": 1, "split": "train"}', "h.jsonl"),
    "in its bytes": (b"id,file,text,label,split\nc0,0.ogg,a \xed\xa0\xbd,1,train\n", "h.csv"),
    "a NUL byte": (b"id,file,text,label,split\nc0,0.ogg,a \0,1,train\n", "h.csv"),
}


@pytest.mark.parametrize("kind", HALVES)
def test_half_a_character(opened: Open, kind: str) -> None:
    """A whole pair stays an emoji, escaped or as bytes of its halves."""
    content, name = HALVES[kind]
    entries = [
        f'{{"id": "c{n}", "file": "{n}.ogg", "text": "\\ud83d\\ude00", "label": 1, "split": "{split}"}}'
        for n, split in ((1, "valid"), (2, "test"))
    ]
    if name == "h.json":
        content += f", {entries[0]}, {entries[1]}]".encode()
    elif name == "h.jsonl":
        content += "\n".join(["", *entries]).encode()
    else:
        content += b"c1,1.ogg,\xed\xa0\xbd\xed\xb8\x80,1,valid\nc2,2.ogg,\xf0\x9f\x98\x80,1,test\n"
    by_hand, guessed, _ = opened(content, name)
    for corpus in (by_hand, guessed):
        assert corpus.clips["text"].tolist() == ["a \ufffd", "😀", "😀"]
    where = {"h.json": "entry 1", "h.jsonl": "line 1", "h.csv": "line 2"}[name]
    note = "incomplete and NUL characters are read as \ufffd; cells with some: 1"
    assert f"{name}: {note} (the first: {where}, 'text')" in by_hand.notes


def test_half_a_character_anywhere_else(folder: Path) -> None:
    """In names of entries and columns, in paths and in labels."""
    (folder / "h.json").write_bytes(rb'{"k\ud83d": {"fi\udc00le": "0\ud83d.ogg", "label": "\udfff", "text": "x"}}')
    columns = {"clip_id": "key", "media": "fi\ufffdle", "text": "text", "label": "label"}
    described = {"root": str(folder), "tables": [{"file": "h.json"}], "columns": columns}
    with pytest.raises(UserError, match=r"none of the 1 recordings is there .*/0\ufffd\.ogg"):
        read_corpus(parse(Dataset, described, "hand.yaml"))
    (folder / "0\ufffd.ogg").touch()
    corpus = read_corpus(parse(Dataset, described, "hand.yaml"))
    assert corpus.clips[["clip_id", "label"]].to_numpy().tolist() == [["k\ufffd", "\ufffd"]]
    assert clean("\ud83d\ude00 \ude00\ud83d") == "😀 \ufffd\ufffd"


@pytest.mark.parametrize(
    ("label", "number"),
    [("-1,5", "-1.5"), ("1,0", "1.0"), ("\u22121.5", "-1.5"), ("\u20132", "-2"), (",5", ".5"), ("+0,25", "+0.25")],
)
def test_labels_with_a_decimal_comma(opened: Open, label: str, number: str) -> None:
    table = b"\xef\xbb\xbf" + semicolons(HEADER + ROWS).replace("-1;train", f"{label};train").encode()
    by_hand, _, text = opened(table, delimiter=";")
    assert by_hand.clips["label"].tolist() == [number, "0", "1"]
    assert by_hand.notes == [
        f"1 of 3 labels are written with a comma or another sign, such as {label!r}, which is read as {number}"
    ]
    assert "task: {kind: intensity" in text


def test_thousands(folder: Path) -> None:
    assert plain_numbers("1.234,5") == plain_numbers("1,234.5") == plain_numbers("1\u202f234.5") == ["1234.5"]
    assert plain_numbers("1'000") == ["1000"] and plain_numbers("1,234,567") == ["1234567"]
    assert plain_numbers("1,234") == ["1.234", "1234"]
    assert [plain_numbers(text) for text in ("1,2,3", "", "a", "1.2.3", "1,2 3")] == [[]] * 5
    rows = semicolons("id,file,label,split\n") + "a;0.ogg;1,234;train\nb;1.ogg;7;valid\nc;2.ogg;8;test\n"
    (folder / "t.csv").write_text(rows)
    described = {"root": str(folder), "tables": [{"file": "t.csv", "delimiter": ";"}], "prompt": "?"}
    described |= {"columns": COLUMNS | {"text": None}, "text_from": "asr", "split": {"by": "split"}}
    task = {"kind": "intensity", "low": 0, "high": 10}
    assert read_corpus(parse(Dataset, described | {"task": task}, "x")).clips["label"].tolist()[0] == "1.234"
    with pytest.raises(UserError, match=r"line 2 \(a\): label = '1,234' may be 1\.234 or 1234; write it with a point"):
        read_corpus(parse(Dataset, described | {"task": task | {"high": 5000}}, "x"))


def test_long_cells(opened: Open) -> None:
    table = HEADER.replace("\r", ",landmarks\r") + ROWS.replace("\r", f',"{"0.1, " * 40_000}"\r')
    by_hand, guessed, _ = opened(table)
    assert by_hand.clips["text"].tolist() == guessed.clips["text"].tolist() == TEXTS


QUOTES: dict[str, tuple[str, str, list[str], str]] = {
    "as characters, tabs": (
        "t.tsv",
        tabs(HEADER) + 'c0\t0.ogg\t"Well, I told you so.\t-1\ttrain\nc1\t1.ogg\the said "no" twice\t0\tvalid\n'
        'c2\t2.ogg\t"Really?" she asked\t1\ttest\n',
        ['"Well, I told you so.', 'he said "no" twice', '"Really?" she asked'],
        "its quotation marks do not enclose cells, and are read as characters",
    ),
    "that would swallow a row": (
        "t.tsv",
        tabs(HEADER) + 'c0\t0.ogg\t"Well\t-1\ttrain\nc1\t1.ogg\tfine"\t0\tvalid\nc2\t2.ogg\tno\t1\ttest\n',
        ['"Well', 'fine"', "no"],
        "its quotation marks do not enclose cells, and are read as characters",
    ),
    "after backslashes": (
        "t.csv",
        HEADER
        + 'c0,0.ogg,"he said \\"no\\", twice",-1,train\nc1,1.ogg,"a ""b""",0,valid\nc2,2.ogg,"\\"so\\"",1,test\n',
        ['he said "no", twice', 'a "b"', '"so"'],
        'a backslash and a quotation mark (\\") are read as the quotation mark alone',
    ),
    "both": (
        "t.csv",
        HEADER + 'c0,0.ogg,"a, b",-1,train\nc1,1.ogg,"Really?" she asked,0,valid\nc2,2.ogg,it is 5" long,1,test\n',
        ["a, b", '"Really?" she asked', 'it is 5" long'],
        "quotation marks that do not enclose a whole cell are read as characters",
    ),
    "doubled, over two lines": (
        "t.csv",
        HEADER + 'c0,0.ogg,"two\nlines, ""so""",-1,train\nc1,1.ogg,5" long,0,valid\nc2,2.ogg,"",1,test\n',
        ['two\nlines, "so"', '5" long', ""],
        "",
    ),
}


@pytest.mark.parametrize("kind", QUOTES)
def test_quotation_marks(opened: Open, kind: str) -> None:
    name, table, texts, note = QUOTES[kind]
    by_hand, guessed, _ = opened(table, name)
    assert by_hand.clips["text"].tolist() == guessed.clips["text"].tolist() == texts
    assert by_hand.notes == ([f"{name}: {note}"] if note else [])


def test_a_quotation_mark_that_stays_open(opened: Open) -> None:
    with pytest.raises(UserError, match=r"t\.csv: line 3: quotation marks that do not close .*\"he said \"\"no\"\"\""):
        opened(HEADER + 'c0,0.ogg,x,1,train\nc1,"1.ogg,y,z,1,valid\nc2,2.ogg,z,1,test\n')
    with pytest.raises(UserError, match="cut off within a quoted cell of its last line"):
        opened(HEADER + 'c0,0.ogg,x,1,"tra')


def test_lines_above_the_names(opened: Open) -> None:
    with pytest.raises(UserError, match=r"its first line names 1 of 5 columns \(My study\); delete the lines above"):
        opened("My study,,,,\n" + HEADER + ROWS)


@pytest.mark.parametrize("path", ["Raw\\v{}\\x.ogg", ".\\Raw\\v{}\\x.ogg", "Raw\\\\v{}\\\\x.ogg"])
def test_backslashes(opened: Open, folder: Path, path: str) -> None:
    """Labels that are found in the paths too tempt to make paths of them."""
    rows = ""
    for n, split in enumerate(("train", "valid", "test")):
        (folder / f"Raw/v{n}").mkdir(parents=True)
        (folder / f"Raw/v{n}/x.ogg").touch()
        rows += f"c{n},{path.format(n)},so,{n},{split}\r\n"
    by_hand, guessed, text = opened(HEADER + rows)
    assert all(Path(media).is_file() for corpus in (by_hand, guessed) for media in corpus.clips["media"])
    assert any(note.startswith("paths with backslashes, which are read as slashes: 3 ") for note in by_hand.notes)
    assert yaml.safe_load(text)["columns"]["media"] == "file"


def test_backslashes_do_not_lead_out(opened: Open) -> None:
    with pytest.raises(UserError, match=r"file = '\.\./\.\./x\.ogg' leads out of the corpus's folder"):
        opened(HEADER + ROWS.replace("0.ogg", "..\\..\\x.ogg"))


RAGGED = {
    "two empty columns": ("id,file,text,label,split,,", ",", ",,"),
    "no comma at the end of some": ("id,file,text,label,split,", "", ","),
    "a shorter row": ("id,file,text,label,split", ",,,", ""),
}


@pytest.mark.parametrize("kind", RAGGED)
def test_a_clip_may_begin_with_a_hash(folder: Path, kind: str) -> None:
    """Whatever stands at the ends of the rows; a comment does not fit the header, or is alone in its row."""
    header, first, other = RAGGED[kind]
    rows = ["#blessed,0.ogg,so,1,train" + first, *(f"c{n},1.ogg,it,0,train{other}" for n in range(5))]
    table = "\n".join(["# mine,,,,", header, *rows, "# end", "#,,,,,,", "# a, b"])
    (folder / "t.csv").write_text(table)
    described = {"root": str(folder), "tables": [{"file": "t.csv"}], "columns": COLUMNS, "split": {"by": "split"}}
    corpus = read_corpus(parse(Dataset, described, "hand.yaml"))
    assert corpus.clips["clip_id"].tolist() == ["#blessed", *(f"c{n}" for n in range(5))]
    assert "t.csv: lines that begin with # are skipped as comments: 4" in corpus.notes


def test_a_header_may_begin_with_a_hash(opened: Open) -> None:
    by_hand, _, _ = opened("# v1, of May\n#" + HEADER + ROWS, columns={"clip_id": "#id"})
    assert by_hand.clips["text"].tolist() == TEXTS
    assert by_hand.notes == ["t.csv: lines that begin with # are skipped as comments: 1"]

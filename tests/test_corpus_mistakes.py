"""25 mistakes in a corpus and more: each is one message that names file, row or key, value and choices."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mse.config import Config, Dataset, load_dataset, parse
from mse.errors import UserError
from tests.described import GOOD, HEADER, Read

TABLE_MISTAKES = {
    "clip twice": ("a,x,,,train,,,1\n", "t.csv: line 5 (a): id appears in {}/t.csv: line 2 already; clip ids must be"),
    "no clip id": (",x,,,train,,,1\n", "t.csv: line 5 (no clip id): id is empty; each clip needs a name"),
    "no media": ("d,,,,train,,,1\n", "t.csv: line 5 (d): file is empty; it must name the clip's file"),
    "unknown split": (
        "d,x,,,eval,,,1\n",
        "t.csv: line 5 (d): part = 'eval' is in no split (train: train; valid: valid, dev, val; test: test)",
    ),
    "no time": ("d,x,1h,,train,,,1\n", "t.csv: line 5 (d): from = '1h' is no time; expected seconds or h:mm:ss,mmm"),
    "negative time": ("d,x,-1,2,train,,,1\n", "t.csv: line 5 (d): from = '-1' is no time; expected seconds"),
    "start after end": ("d,x,3,2,train,,,1\n", "t.csv: line 5 (d): the clip starts (3) at or after its end (2)"),
    "label no number": (
        "d,x,,,train,,,good\n",
        "t.csv: line 5 (d): score = 'good' is no number; expected an intensity from -3.0 to 3.0",
    ),
    "label empty": ("d,x,,,train,,,\n", "t.csv: line 5 (d): score = '' is no number"),
    "label NaN": ("d,x,,,train,,,nan\n", "t.csv: line 5 (d): score = 'nan' is no number"),
    "label out of range": ("d,x,,,train,,,3.5\n", "t.csv: line 5 (d): score = 3.5 lies outside the task's range from"),
    "comma without quotes": (
        "d,x,,,train,,well, I say,1\n",
        "t.csv: line 5 has 9 cells, the header 8; put a text that holds a comma into double quotes",
    ),
    "lines within quotes": ('\n\nd,x,,,train,,"two\nlines",bad\n', "t.csv: line 8 (d): score = 'bad' is no number"),
}


@pytest.mark.parametrize("mistake", TABLE_MISTAKES)
def test_mistake_in_a_row(read: Read, tmp_path: Path, mistake: str) -> None:
    row, message = TABLE_MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        read(HEADER + GOOD + row)
    assert str(caught.value).startswith(f"{tmp_path}/corpus/{message.format(tmp_path / 'corpus')}")
    assert "\n" not in str(caught.value)


YAML_MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"colums": {}}, "datasets/mine.yaml: unknown key 'colums'; did you mean 'columns'?"),
    "unknown column key": (
        {"columns": {"lable": "x"}},
        "mine.yaml: unknown key 'columns.lable'; did you mean 'label'?",
    ),
    "wrong column": (
        {"columns": {"label": "lable"}},
        "corpus/t.csv: no column 'lable', which columns.label = 'lable' asks for; the table has id, file, from, to",
    ),
    "template with an unknown field": (
        {"columns": {"media": "Raw/{video}.mp4"}},
        "corpus/t.csv: no column 'video', which columns.media = 'Raw/{video}.mp4' asks for; the table has id, file",
    ),
    "template that is none": (
        {"columns": {"media": "{file"}},
        "mine.yaml: columns.media = '{file': expected '}' before",
    ),
    "template that computes": (
        {"columns": {"media": "{file!r}"}},
        "mine.yaml: columns.media = '{file!r}': {file}: after",
    ),
    "pattern that is none": (
        {"tables": [{"file": "{n,(}.csv"}]},
        "mine.yaml: tables.0.file = '{n,(}.csv': not a regular expression: missing ), unterminated subpattern",
    ),
    "class outside the mapping": (
        {"task": {"kind": "classes", "classes": {"good": ["1"], "bad": ["-1"]}}},
        "corpus/t.csv: line 4 (c): score = '0' means none of the classes: good (1), bad (-1)",
    ),
    "value of two classes": (
        {"task": {"kind": "classes", "classes": {"good": ["1"], "bad": ["1"]}}},
        "{'good': ['1'], 'bad': ['1']}}: classes: '1' means two of them",
    ),
    "number that YAML changed": (
        {"split": {"by": "part", "train": [1]}},
        "mine.yaml: split.train.0 = 1: Input should be a valid string; put it in quotes, as it is written",
    ),
    "value in two splits": ({"split": {"by": "part", "train": ["test"]}}, "'test': listed for two splits"),
    "shares above one": (
        {"split": {"hash_of": "who", "valid": 0.5, "test": 0.5}},
        "valid (0.5) and test (0.5) leave nothing to train on",
    ),
    "split without clips": (
        {"split": {"by": "part", "train": ["train", "valid"], "valid": ["dev"]}},
        "corpus: no clip in the split 'valid'; a corpus with a task needs all three",
    ),
    "split by a missing column": (
        {"split": {"by": "mode"}},
        "t.csv: no column 'mode', which split.by = 'mode' asks for; the table has id, file",
    ),
    "unknown task": (
        {"task": {"kind": "emotion"}},
        "mine.yaml: task = {'kind': 'emotion'}: kind must be intensity or classes",
    ),
    "range upside down": (
        {"task": {"kind": "intensity", "low": 2, "high": 1}},
        "low (2.0) must be less than high (1.0)",
    ),
    "no prompt": ({"prompt": None}, "mine.yaml: task is given, but no prompt"),
    "no label column": ({"columns": {"label": None}}, "columns.label does not say which column holds the labels"),
    "no text column": ({"columns": {"text": None}}, "columns.text does not say which column holds the text"),
    "unknown modality": ({"modalities": ["video"]}, "modalities.0 = 'video': Input should be 'acoustic', 'facial' or"),
    "no source of clips": ({"tables": None}, "mine.yaml: give tables, files or released; found none of them"),
    "table is missing": (
        {"tables": [{"file": "clips.csv"}]},
        "corpus/clips.csv: no such file; `root` and `tables` of the corpus's YAML say where it lies",
    ),
    "pattern fits no table": ({"tables": [{"file": "{n}/t.csv"}]}, "corpus: no file fits the table '{n}/t.csv'"),
    "pattern fits no file": (
        {"tables": None, "files": "{n}.mov"},
        "corpus: none of 9 files fits files = '{n}.mov'; there is a.mp4, k1.mp4, k2.mp4, ...",
    ),
    "no line fits": ({"tables": [{"file": "t.csv", "lines": "{a}|{b}"}]}, "corpus/t.csv: no line fits '{a}|{b}'"),
    "unknown encoding": (
        {"tables": [{"file": "t.csv", "encoding": "utf-9"}]},
        "corpus/t.csv: not readable as utf-9: unknown encoding: utf-9; its table's `encoding` says how",
    ),
    "column twice": ({"tables": [{"file": "t.csv", "values": {"who": "S"}}]}, "t.csv: has a column 'who' of its own"),
    "join by nothing": (
        {"tables": [{"file": "t.csv"}, {"file": "t.csv", "join": ["name"]}]},
        "corpus/t.csv: no column 'name' to join by; it has id, file",
    ),
    "excludes everything": (
        {"exclude": [{"where": "who", "values": ["S", "T"], "reason": "?"}]},
        "corpus: `exclude` leaves no row of 3",
    ),
    "recodes a missing column": (
        {"recode": {"mood": {"a": "b"}}},
        "t.csv: no column 'mood' to recode; the table has id",
    ),
    "keeps a reserved column": ({"columns": {"extra": ["text"]}}, "columns.extra: 'text' is a column of the manifest"),
    "nothing to join": (
        {"tables": [{"file": "t.csv"}, {"file": "other.csv", "join": ["id"]}]},
        "corpus/other.csv: no row fits any of the 3 before by id (first: 'a')",
    ),
    "no recording is there": (
        {"columns": {"media": "Raw/{file}"}},
        "corpus: none of the 3 recordings is there (the first: ",
    ),
    "kept column is missing": (
        {"columns": {"extra": ["{who}"]}},
        "t.csv: no column '{who}', which columns.extra wants",
    ),
    "semicolons": (
        {"tables": [{"file": "semi.csv"}]},
        "semi.csv: one column, 'id;file'; if its cells are separated so, say `delimiter: \";\"`",
    ),
    "no header": (
        {"tables": [{"file": "bare.csv"}]},
        "bare.csv: the column '1' appears twice; if the file begins with a clip and not with the columns' names",
    ),
    "utterances upside down": ({"cut": {"min_s": 30, "max_s": 5}}, "max_s (5) must be at least twice min_s (30)"),
    "clips upside down": (
        {"segment": {"min_s": 5, "max_s": 1}},
        "mine.yaml: segment: min_s (5) must be less than max_s",
    ),
    "modality twice": ({"modalities": ["text", "text"]}, "modalities = ['text', 'text']: one stands there twice"),
    "metrics of another range": (
        {"task": {"metrics": "sims"}},
        "the metrics of sims are for labels from -1 to 1, not -3",
    ),
    "cut and labels": ({"cut": {"at": "pauses"}}, "cut makes clips of its own: the corpus can have no task, split"),
    "override is wrong": (
        {"train": {"epochs": 3}},
        "mine.yaml: train: unknown key 'epochs'; known keys: learning_rate",
    ),
}


@pytest.mark.parametrize("mistake", YAML_MISTAKES)
def test_mistake_in_the_yaml(read: Read, tmp_path: Path, mistake: str) -> None:
    keys, message = YAML_MISTAKES[mistake]
    if mistake == "keeps a reserved column":
        table = HEADER.replace("who", "text") + GOOD
        keys = keys | {"columns": {"extra": ["text"], "speaker": None}}
    else:
        table = HEADER + GOOD
    others = {"other.csv": "id,mood\nq,1\n", "semi.csv": "id;file\na;x\n", "bare.csv": "a,x,1,1\n"}
    if mistake == "pattern fits no file":
        others = {}
    with pytest.raises(UserError) as caught:
        read(table, on_disk=others, **keys)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ".csv" in str(caught.value) or ".yaml" in str(caught.value) or "/corpus: " in str(caught.value)


FILE_MISTAKES: dict[str, tuple[bytes, str, str]] = {
    "no rows": (HEADER.encode(), "t.csv", "corpus/t.csv: the table has no rows"),
    "unreadable encoding": (
        HEADER.encode() + "a,ä.mp4".encode("latin-1"),
        "t.csv",
        "corpus/t.csv: not readable as utf-8: line 2 holds the byte 0xe4; it may be cp1252 ('ä.mp4'), or ",
    ),
    "open quotes": (
        HEADER.encode() + b'a,"x,train,,,1\n',
        "t.csv",
        "corpus/t.csv: line 2: quotation marks that do not close (",
    ),
    "header twice": (b"id,id\na,b\n", "t.csv", "corpus/t.csv: the column 'id' appears twice"),
    "broken JSON": (b'[{"id": 1', "t.json", "corpus/t.json: not a .json table: Expecting ',' delimiter"),
    "JSON of numbers": (b"[1, 2]", "t.json", "corpus/t.json: entry 1 is no object with columns, but str"),
    "JSON of one number": (b"3", "t.json", "corpus/t.json: expected a list of objects, or objects by name; found str"),
}


@pytest.mark.parametrize("mistake", FILE_MISTAKES)
def test_mistake_in_a_file(read: Read, mistake: str) -> None:
    content, name, message = FILE_MISTAKES[mistake]
    with pytest.raises(UserError) as caught:
        read(None, on_disk={name: content}, tables=[{"file": name}])
    assert message in str(caught.value)


def test_there_are_enough_mistakes() -> None:
    assert len({*TABLE_MISTAKES, *YAML_MISTAKES, *FILE_MISTAKES}) >= 25


def test_joined_row_twice(read: Read) -> None:
    tables = [{"file": "t.csv"}, {"file": "more.csv", "join": ["id"]}]
    with pytest.raises(UserError, match=r"more\.csv: line 3: a is in .*more\.csv: line 2 already; delete one"):
        read(on_disk={"more.csv": "id,mood\na,1\na,2\n"}, tables=tables)


def test_many_mistakes_are_told_at_once_but_not_endlessly(read: Read) -> None:
    with pytest.raises(UserError) as caught:
        read(HEADER + "".join(f"c{i},x,,,train,,,bad\n" for i in range(50)))
    assert len(str(caught.value).splitlines()) == 21
    assert "... and 32 more" in str(caught.value)


def test_released_features_and_their_name_go_together(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    released = {"root": "x", "released": {"format": "mmsa", "files": {"all": "f.pkl"}}}
    (tmp_path / "datasets/mine.yaml").write_text(yaml.safe_dump(released))
    with pytest.raises(
        UserError, match=r"mine\.yaml: a corpus of released features, and no other, has a name that ends"
    ):
        load_dataset(Config(config_path=[tmp_path]), "mine")
    with pytest.raises(UserError, match="files has the keys all; records has test, train, valid"):
        parse(Dataset, {"root": "x", "released": {"format": "records", "files": {"all": "f.pkl"}}}, "mine.yaml")

"""Corpora as YAML describes them: read, checked, and dealt to shards; every mistake is one message."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mse.config import Config, Dataset, load_dataset, parse
from mse.corpus import Corpus, read_corpus, read_excluded, read_manifest, read_shard, shard_files, write_manifest
from mse.corpus.build import seconds
from mse.corpus.sources import walk
from mse.errors import UserError

HEADER = "id,file,from,to,part,who,words,score\n"
GOOD = "a,x.mp4,,,train,S,ja,1\nb,y.mp4,0:01.5,3,valid,S,nein,-1\nc,z.mp4,,,test,T,doch,0\n"
DESCRIBED: dict[str, Any] = {
    "tables": [{"file": "t.csv"}],
    "columns": {
        "clip_id": "id",
        "media": "file",
        "start": "from",
        "end": "to",
        "speaker": "who",
        "text": "words",
        "label": "score",
    },
    "split": {"by": "part"},
    "task": {"kind": "intensity"},
    "prompt": "How?",
}
CLASSES = {"kind": "classes", "classes": {"good": ["1"], "bad": ["-1", "0"]}}
MEDIA = ("x", "x.mp4", "y.mp4", "z.mp4", "v 1/x.mp4", "a.mp4", "k1.mp4", "k2.mp4")  # empty: they are never opened
Read = Callable[..., Corpus]


@pytest.fixture()
def read(tmp_path: Path) -> Read:
    """Write t.csv (and other files) and a corpus's YAML with some keys changed, and read it as a run does."""

    def reading(
        table: str | None = HEADER + GOOD, on_disk: dict[str, str | bytes] | None = None, **keys: Any
    ) -> Corpus:
        for name in MEDIA:
            (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "corpus" / name).touch()
        contents = ({} if table is None else {"t.csv": table}) | (on_disk or {})
        for name, content in contents.items():
            (tmp_path / "corpus" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "corpus" / name).write_bytes(content.encode() if isinstance(content, str) else content)
        described = DESCRIBED | {"root": str(tmp_path / "corpus")} | keys
        described["columns"] = DESCRIBED["columns"] | keys.get("columns", {})
        described = {key: value for key, value in described.items() if value is not None}
        (tmp_path / "datasets").mkdir(exist_ok=True)
        (tmp_path / "datasets/mine.yaml").write_text(yaml.safe_dump(described, allow_unicode=True, sort_keys=False))
        return read_corpus(load_dataset(Config(config_path=[tmp_path]), "mine"))

    return reading


def test_table_becomes_manifest(read: Read, tmp_path: Path) -> None:
    rows = 'a,v 1/x.mp4,,,train,S,"好, NA",-1.5\n007,v 1/x.mp4,1.5,"0:00:03,250",test,,None,2\n'
    corpus = read(HEADER + rows, task=None)
    write_manifest(corpus.clips, corpus.excluded, tmp_path / "manifest.csv")
    again = read_manifest(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(again, corpus.clips, check_dtype=False)
    assert again["clip_id"].tolist() == ["a", "007"]  # a number-like name stays a name
    assert again["text"].tolist() == ["好, NA", "None"]  # and a word like NA stays a word
    assert again["media"].tolist() == [str(tmp_path / "corpus/v 1/x.mp4")] * 2
    assert again["start_s"].isna().tolist() == [True, False]
    assert again["end_s"].tolist()[1] == 3.25
    assert read_excluded(tmp_path / "manifest.csv").empty


@pytest.mark.parametrize(
    ("text", "time"),
    [("83.5", 83.5), ("1:23,5", 83.5), ("0:01:23.500", 83.5), ("00:16:16,059", 976.059), (" 0 ", 0.0)],
)
def test_times(text: str, time: float) -> None:
    assert seconds(text) == time


def test_json_tsv_lines_and_joined_tables(read: Read, tmp_path: Path) -> None:
    entries = [
        {"name": "k1", "at": {"start": 1.50, "end": 2}, "ok": None},
        {"name": "k2", "at": {"start": 0, "end": 1}},
    ]
    columns = {"clip_id": "{name}{line}", "media": "{name}.mp4", "start": "at.start", "end": "at.end"}
    columns |= {"speaker": None, "text": "words", "label": None}
    keys: dict[str, Any] = {"columns": columns, "split": None, "task": None}
    tables = [{"file": "t.json", "values": {"line": "!"}}, {"file": "words.tsv", "join": ["name"]}]
    files = {"t.json": json.dumps(entries), "words.tsv": "name\twords\nk1\ta, b\n"}
    clips = read(None, on_disk=files, tables=tables, **keys).clips
    assert clips["clip_id"].tolist() == ["k1!", "k2!"]
    assert clips[["start_s", "end_s"]].to_numpy().tolist() == [[1.5, 2], [0, 1]]
    assert clips["text"].tolist() == ["a, b", ""]
    named = {entry["name"]: {key: value for key, value in entry.items() if key != "name"} for entry in entries}
    tables[0] = {"file": "t.jsonl", "values": {"line": "!"}}
    files = {"t.jsonl": "\n".join(json.dumps(entry) for entry in entries) + "\n"}
    pd.testing.assert_frame_equal(read(None, on_disk=files, tables=tables, **keys).clips, clips)
    tables[0] = {"file": "named.json", "values": {"line": "!"}}
    columns |= {"clip_id": "{key}!", "media": "{key}.mp4"}
    tables[1] = {"file": "words2.tsv", "join": ["key"]}
    files = {"named.json": json.dumps(named), "words2.tsv": "key\twords\nk1\ta, b\n"}
    pd.testing.assert_frame_equal(read(None, on_disk=files, tables=tables, **keys).clips, clips)


def test_names_of_files_are_read(read: Read) -> None:
    files: dict[str, str | bytes] = {"S1/a-好.wav": "", "S2/b-gut.wav": "", "S2/other.txt": "", ".hidden/c-x.wav": ""}
    columns = {"clip_id": "stem", "media": "file", "speaker": "who", "text": "how", "label": None}
    keys: dict[str, Any] = {"tables": [], "columns": columns | {"start": None, "end": None}, "task": None}
    split = {"by": "who", "test": ["S1"], "others": "train"}
    clips = read(None, on_disk=files, files="{who}/{n}-{how}.wav", split=split, **keys).clips
    assert clips["clip_id"].tolist() == ["a-好", "b-gut"]
    assert clips["split"].tolist() == ["test", "train"]


def test_linked_folders_are_walked_once(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.mp4").touch()
    (tmp_path / "a/b/loop").symlink_to(tmp_path / "a")
    (tmp_path / "other").symlink_to(tmp_path / "a")
    assert walk(tmp_path) == ["a/b/x.mp4"]


def test_accents_composed_otherwise_on_the_disk(read: Read) -> None:
    on_disk, in_table = (unicodedata.normalize(form, "Zoë.mp4") for form in ("NFD", "NFC"))
    assert on_disk != in_table
    clips = read(HEADER + f"a,{in_table},,,train,,,0\n", on_disk={on_disk: "x"}, task=None).clips
    assert Path(clips.loc[0, "media"]).is_file()


def test_misread_punctuation_is_mended(read: Read) -> None:
    clips = read(HEADER + "a,x,,,train,,You must\x92ve\x85,0\n", task=None).clips
    assert clips.loc[0, "text"] == "You must\u2019ve\u2026"


def test_classes_are_named_and_extra_columns_kept(read: Read) -> None:
    corpus = read(task=CLASSES, columns={"extra": ["part"]})
    assert corpus.clips["label"].tolist() == ["good", "bad", "bad"]
    assert corpus.clips["part"].tolist() == ["train", "valid", "test"]


def test_excluded_rows_are_kept_with_their_reason(read: Read, tmp_path: Path) -> None:
    broken = "a,x,9,1,train,,,99\n"  # its other mistakes do not matter any more
    rules = [{"where": "{id}-{who}", "values": ["a-", "zz"], "reason": "damaged"}]
    corpus = read(HEADER + broken + GOOD.replace("a,", "d,", 1), exclude=rules)
    assert corpus.clips["clip_id"].tolist() == ["d", "b", "c"]
    assert corpus.excluded.to_numpy().tolist() == [["a", "damaged"]]
    assert corpus.notes == ["exclude.0: no row has {id}-{who} = 'zz'"]


def test_hashed_splits_keep_speakers_together_and_stay(read: Read) -> None:
    rows = [f"c{i}-{who},x.mp4,,,,s{who},,0\n" for i in range(3) for who in range(200)]
    split = {"hash_of": "who", "valid": 0.2, "test": 0.3, "seed": 5}
    few = read(HEADER + "".join(rows[:100]), split=split, task=None).clips
    many = read(HEADER + "".join(rows), split=split, task=None).clips
    assert many.groupby("speaker")["split"].nunique().max() == 1
    assert few["split"].tolist() == many["split"].tolist()[:100]
    shares = many["split"].value_counts(normalize=True)
    assert abs(shares["valid"] - 0.2) < 0.08 and abs(shares["test"] - 0.3) < 0.08
    other = read(HEADER + "".join(rows), split=split | {"seed": 6}, task=None).clips
    assert other["split"].tolist() != many["split"].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_few_speakers_leave_no_split_empty(read: Read, seed: int) -> None:
    for speakers in (3, 4, 7):
        rows = "".join(f"c{i},x.mp4,,,,s{i},,0\n" for i in range(speakers))
        clips = read(HEADER + rows, split={"hash_of": "who", "valid": 0.1, "test": 0.2, "seed": seed}).clips
        assert set(clips["split"]) == {"train", "valid", "test"}


def test_recordings_stay_together(read: Read, tmp_path: Path) -> None:
    rows = "".join(f"{video}{i},{video}.mp4,{i},{i + 1},train,,,0\n" for i in range(3) for video in "abcd")
    corpus = read(HEADER + rows, shard_clips=7, task=None)
    manifest = corpus.clips
    assert manifest.groupby("media")["shard"].nunique().tolist() == [1] * 4
    assert manifest["shard"].value_counts().to_dict() == {"0000": 6, "0001": 6}
    write_manifest(manifest, corpus.excluded, tmp_path / "m.csv")
    assert len(read_shard(tmp_path / "m.csv", "0001")) == 6
    assert shard_files(tmp_path / "m.csv", Path("f"), ".h5") == [Path("f/0000.h5"), Path("f/0001.h5")]
    with pytest.raises(UserError, match=r"m\.csv: no shard '0007'; there is 0000, 0001"):
        read_shard(tmp_path / "m.csv", "0007")


def test_corpus_without_labels_and_splits_is_all_test(read: Read) -> None:
    columns = {"speaker": None, "text": None, "label": None, "start": None, "end": None}
    clips = read("id,file\na,x.mp4\n", columns=columns, split=None, task=None, text_from="asr").clips
    assert clips.loc[0, "split"] == "test" and clips.loc[0, "label"] == ""


def test_what_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing or no table"):
        read_manifest(tmp_path / "gone.csv")
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"not a table of `mse manifest`; the column .clip_id. is missing"):
        read_manifest(tmp_path / "m.csv")


# --- 25 mistakes and more: each gives one message that names file, row or key, value and choices ---

TABLE_MISTAKES = {
    "clip twice": ("a,x,,,train,,,1\n", "t.csv: line 5 (a): id stands in {}/t.csv: line 2 already; clip ids must be"),
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
        "semi.csv: one column, 'id;file'; if its cells are separated so, say `delimiter`",
    ),
    "no header": (
        {"tables": [{"file": "bare.csv"}]},
        "bare.csv: the column '1' stands there twice; if the file begins with a clip and not with the columns' names",
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
        "corpus/t.csv: not readable as utf-8: 'utf-8' codec can't decode byte 0xe4",
    ),
    "open quotes": (HEADER.encode() + b'a,"x,,,train,,,1\n', "t.csv", "corpus/t.csv: not a .csv table: unexpected end"),
    "header twice": (b"id,id\na,b\n", "t.csv", "corpus/t.csv: the column 'id' stands there twice"),
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


def test_header_and_delimiter_can_be_given(read: Read) -> None:
    tables = [{"file": "t.TSV", "header": ["id", "file", "words"], "delimiter": ";"}]
    columns = {"start": None, "end": None, "speaker": None, "label": None}
    clips = read(None, on_disk={"t.TSV": "a;x.mp4;eins, zwei\n"}, tables=tables, columns=columns, split=None, task=None)
    assert clips.clips.loc[0, "text"] == "eins, zwei"


def test_objects_may_lack_keys(read: Read) -> None:
    entries = [{"id": "a", "file": "x.mp4"}, {"id": "b", "file": "x.mp4", "words": "ja", "who": "S"}]
    columns = {"start": None, "end": None, "label": None}
    clips = read(
        None,
        on_disk={"t.json": json.dumps(entries)},
        tables=[{"file": "t.json"}],
        columns=columns,
        split=None,
        task=None,
    ).clips
    assert clips["speaker"].tolist() == ["", "S"] and clips["text"].tolist() == ["", "ja"]


def test_kept_columns_change_nothing_else(read: Read) -> None:
    """A kept column may be called as one of a clip's facts."""
    table = "id,file,begin,stop,start,end,split_value\na,x.mp4,1,2,0,9,q\n"
    columns = {"start": "begin", "end": "stop", "speaker": None, "text": None, "label": None}
    extra = {"extra": ["start", "end", "split_value"]}
    keys = {"columns": columns | extra, "split": None, "task": None, "text_from": "asr"}
    clips = read(table, **keys).clips
    assert clips[["start_s", "end_s"]].to_numpy().tolist() == [[1, 2]]
    assert clips[["start", "end", "split_value"]].to_numpy().tolist() == [["0", "9", "q"]]


def test_rows_that_were_passed_over_are_counted(read: Read) -> None:
    tables = [{"file": "t.txt", "lines": "{id} {file} {words}"}, {"file": "more.csv", "join": ["id"]}]
    columns = {"start": None, "end": None, "speaker": None, "label": None}
    files = {"t.txt": "a x.mp4 ja\n#\nb x.mp4 nein\n", "more.csv": "id,mood\nb,1\n"}
    corpus = read(None, on_disk=files, tables=tables, columns=columns, split=None, task=None)
    assert corpus.notes == [
        "t.txt: 2 of 3 lines fit `lines` and are rows",
        "more.csv: has no row for 1 of 2 by id; its columns are empty there",
    ]


def test_joined_row_twice(read: Read) -> None:
    tables = [{"file": "t.csv"}, {"file": "more.csv", "join": ["id"]}]
    with pytest.raises(
        UserError, match=r"more\.csv: line 3: a stands in .*more\.csv: line 2 already; which one counts"
    ):
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

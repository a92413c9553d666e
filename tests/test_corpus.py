"""Corpora as YAML describes them: read, checked, and dealt to shards."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mse.corpus import read_excluded, read_manifest, shard_files, write_manifest
from mse.corpus.numbers import seconds
from mse.corpus.sources import walk
from mse.errors import UserError
from tests.described import GOOD, HEADER, Read

CLASSES = {"kind": "classes", "classes": {"good": ["1"], "bad": ["-1", "0"]}}


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
    assert shard_files(tmp_path / "m.csv", Path("f"), ".h5") == [Path("f/0000.h5"), Path("f/0001.h5")]


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

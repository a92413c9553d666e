"""Corpus tables: every mistake is named with its line, and clips are dealt to shards."""

from pathlib import Path

import pandas as pd
import pytest

from mse.config import Columns, Dataset, Intensity
from mse.corpus import make_manifest, read_manifest, read_shard, shard_files, write_manifest
from mse.errors import UserError

HEADER = "id,file,from,to,part,who,words,score\n"
COLUMNS = Columns(
    clip_id="id",
    media="file",
    start_s="from",
    end_s="to",
    split="part",
    speaker="who",
    text="words",
    label="score",
)


def dataset(root: Path, **changes: object) -> Dataset:
    given = {"root": root, "table": Path("t.csv"), "columns": COLUMNS, "task": Intensity(), "prompt": "How?"}
    return Dataset(**given | changes)  # type: ignore[arg-type]


def manifest_of(root: Path, rows: str, **changes: object) -> pd.DataFrame:
    (root / "t.csv").write_text(HEADER + rows, encoding="utf-8")
    return make_manifest(dataset(root, **changes))


def test_table_becomes_manifest(tmp_path: Path) -> None:
    rows = 'a,v 1/x.mp4,,,train,S,"好, NA",-1.5\n007,v 1/x.mp4,1.5,3,test,,None,2\n'
    manifest = manifest_of(tmp_path, rows, task=None)
    path = tmp_path / "manifest.csv"
    write_manifest(manifest, path)
    again = read_manifest(path)
    pd.testing.assert_frame_equal(again, manifest.reset_index(drop=True), check_dtype=False)
    assert again["clip_id"].tolist() == ["a", "007"]  # a number-like name stays a name
    assert again["text"].tolist() == ["好, NA", "None"]  # and a word like NA stays a word
    assert again["media"].tolist() == [str(tmp_path / "v 1/x.mp4")] * 2
    assert again["start_s"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a,x,,,train,,,1\na,x,,,train,,,1\n", "line 3 (a): id stands in line 2 already; clip ids must be unique"),
        (",x,,,train,,,1\n", "line 2 (no clip id): id is empty"),
        ("a,,,,train,,,1\n", "line 2 (a): file is empty"),
        ("a,x,,,dev,,,1\n", "line 2 (a): part = 'dev' is none of train, valid, test"),
        ("a,x,1:30,,train,,,1\n", "line 2 (a): from = '1:30' is no time in seconds"),
        ("a,x,-1,2,train,,,1\n", "line 2 (a): from = '-1' is no time in seconds"),
        ("a,x,3,2,train,,,1\n", "line 2 (a): the clip starts (3 s) at or after its end (2 s)"),
        (
            "a,x,,,train,,,good\n",
            "line 2 (a): score = 'good' is no number; expected an intensity from -3.0 to 3.0",
        ),
        ("a,x,,,train,,,\n", "line 2 (a): score = '' is no number"),
        ("a,x,,,train,,,nan\n", "line 2 (a): score = 'nan' is no number"),
        ("a,x,,,train,,,3.5\n", "line 2 (a): score = 3.5 lies outside the task's range from -3.0 to 3.0"),
        ("", "the table has no rows"),
        (
            "a,x,,,train,,well, I say,1\n",
            "line 2 has 9 cells, the header 8; put a text that holds a comma into double",
        ),
        ('\n\na,x,,,train,,"two\nlines",bad\n', "line 5 (a): score = 'bad' is no number"),
        (
            "a,x,,,train,,,1\nb,x,,,test,,,1\n",
            "no clip in the split 'valid'; a corpus with a task needs all three",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        manifest_of(tmp_path, rows)
    assert f"t.csv: {message}" in str(caught.value)


def test_many_mistakes_are_told_at_once_but_not_endlessly(tmp_path: Path) -> None:
    rows = "".join(f"c{i},x,,,train,,,bad\n" for i in range(50))
    with pytest.raises(UserError) as caught:
        manifest_of(tmp_path, rows)
    assert len(str(caught.value).splitlines()) == 21
    assert "... and 32 more" in str(caught.value)


def test_wrong_column_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + "a,x,,,train,,,1\n")
    wrong = COLUMNS.model_copy(update={"label": "lable"})
    with pytest.raises(UserError, match=r"no column for columns\.label = 'lable'; the table has id, file, from"):
        make_manifest(dataset(tmp_path, columns=wrong))


def test_missing_or_unreadable_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"t\.csv: no such file; `root` and `table`"):
        make_manifest(dataset(tmp_path))
    (tmp_path / "t.csv").write_bytes(b"id,file\n\xff\xfe,x\n")
    with pytest.raises(UserError, match=r"t\.csv: not a CSV table in UTF-8"):
        make_manifest(dataset(tmp_path))


def test_recordings_stay_together(tmp_path: Path) -> None:
    rows = "".join(f"{video}{i},{video}.mp4,{i},{i + 1},train,,,0\n" for i in range(3) for video in "abcd")
    manifest = manifest_of(tmp_path, rows, shard_clips=7, task=None)
    assert manifest.groupby("media")["shard"].nunique().tolist() == [1] * 4
    assert manifest["shard"].value_counts().to_dict() == {"0000": 6, "0001": 6}
    write_manifest(manifest, tmp_path / "m.csv")
    assert len(read_shard(tmp_path / "m.csv", "0001")) == 6
    assert shard_files(tmp_path / "m.csv", Path("f"), ".h5") == [Path("f/0000.h5"), Path("f/0001.h5")]
    with pytest.raises(UserError, match=r"m\.csv: no shard '0007'; there is 0000, 0001"):
        read_shard(tmp_path / "m.csv", "0007")


def test_corpus_without_labels_and_splits_is_all_test(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("clip_id,media\na,x.mp4\n")
    manifest = make_manifest(Dataset(root=tmp_path, table=Path("t.csv"), text_from="asr"))
    assert manifest.loc[0, "split"] == "test"
    assert manifest["label"].isna().all()


def test_what_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing or no table"):
        read_manifest(tmp_path / "gone.csv")
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"not a table of `mse manifest`; the column .clip_id. is missing"):
        read_manifest(tmp_path / "m.csv")

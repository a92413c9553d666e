"""Tables of NamedTuples: what is written is read, and what is no such table is named with its place."""

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from mse.errors import UserError
from mse.rows import LONGEST_CELL, Window, read_rows, read_shard, write_rows


class Measured(NamedTuple):
    """One of each type."""

    name: str
    value: float
    there: bool


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows = [
        Measured('a "quoted", 好\nline', 0.1 + 0.2, True),
        Measured("007", np.nan, False),
        Measured("", -1e-300, True),
    ]
    write_rows(tmp_path / "t.csv", rows, Measured)
    again = read_rows(tmp_path / "t.csv", Measured, "mse test")
    assert [row.name for row in again] == [row.name for row in rows]
    assert np.array_equal([row.value for row in again], [row.value for row in rows], equal_nan=True)
    assert [row.there for row in again] == [True, False, True]
    pandas = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values={"value": ""}, dtype={"name": str})
    assert pandas["name"].tolist() == [row.name for row in rows] and pandas["there"].dtype == bool


def test_empty_table_has_its_columns(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [], Measured)
    assert (tmp_path / "t.csv").read_text() == "name,value,there\n"
    assert read_rows(tmp_path / "t.csv", Measured, "mse test") == []


def test_long_cell_is_read(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [Measured("x" * 200_000, 1, True)], Measured)
    assert len(read_rows(tmp_path / "t.csv", Measured, "mse test")[0].name) == 200_000 < LONGEST_CELL


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"name,value\na,1\n", r"no table of `mse test`; the columns there are missing"),
        (b"", r"no table of `mse test`; the columns name, value, there are missing"),
        (b"name,value,there\na,1,True\nb,one,True\n", r"t\.csv:3: value can't be 'one'"),
        (b"name,value,there\na,1,yes\n", r"t\.csv:2: there can't be 'yes'"),
        (b"name,value,there\na,1\n", r"t\.csv:2: there can't be None"),
        (b"name,value,there\na\n", r"t\.csv:2: value can't be None"),
        (b"name,value,there\n\xff\xfe,1,True\n", r"missing or no table \(.*utf-8"),
        (b'name,value,there\n"a"b,1,True\n', r"missing or no table"),
    ],
)
def test_what_is_no_such_table_is_told(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=told):
        read_rows(tmp_path / "t.csv", Measured, "mse test")


def test_shard_of_a_manifest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.csv: missing or no table .*`mse manifest` makes it"):
        read_shard(tmp_path / "gone.csv", "0000")
    clips = [Window(f"c{number}", f"{number}.mp4", np.nan, 1.5, f"000{number % 2}") for number in range(5)]
    write_rows(tmp_path / "m.csv", clips, Window)
    assert [clip.clip_id for clip in read_shard(tmp_path / "m.csv", "0001")] == ["c1", "c3"]
    with pytest.raises(UserError, match=r"m\.csv: no shard '0007'; there is 0000, 0001"):
        read_shard(tmp_path / "m.csv", "0007")


def test_stages_of_a_shard_do_without_pandas() -> None:
    """Importing it would take as long as cutting the sound of a minute."""
    code = "import sys, mse.cli, mse.segment, mse.extract, mse.features.facial; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

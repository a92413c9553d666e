"""The shard file: round trip, atomic writing, and refusal of what is damaged or foreign."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from mse.errors import UserError
from mse.store import Clip, Description, Shard, Status, write_shard

DESCRIPTION = Description("corpus", "test", ["a", "b", "c"], 10.0, settings={"x": 1}, versions={"mse": "0"})


def clips() -> list[Clip]:
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    values[1] = np.nan
    none = np.zeros((0, 3), np.float32)
    return [
        Clip("ünï", values, np.array([True, False, True, True])),
        Clip("bad", none, np.zeros(0, bool), Status.unreadable, "v.mp4: 坏了"),
        Clip("last", values[:1], np.ones(1, bool), Status.cut, "short"),
    ]


@pytest.fixture()
def shard(tmp_path: Path) -> Path:
    write_shard(tmp_path / "s.h5", DESCRIPTION, clips())
    return tmp_path / "s.h5"


def test_round_trip(shard: Path) -> None:
    with Shard(shard) as opened:
        assert opened.description == DESCRIPTION
        for got, wanted in zip(opened, clips(), strict=True):
            assert (got.clip_id, got.status, got.message) == (wanted.clip_id, wanted.status, wanted.message)
            np.testing.assert_array_equal(got.values, wanted.values)
            np.testing.assert_array_equal(got.valid, wanted.valid)
        assert [clip.status.usable for clip in opened] == [True, False, True]


def test_same_input_same_bytes(shard: Path, tmp_path: Path) -> None:
    write_shard(tmp_path / "t.h5", DESCRIPTION, clips())
    assert shard.read_bytes() == (tmp_path / "t.h5").read_bytes()


def test_a_failure_leaves_what_was_there(shard: Path) -> None:
    before = shard.read_bytes()

    def broken() -> Iterator[Clip]:
        yield clips()[0]
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        write_shard(shard, DESCRIPTION, broken())
    assert shard.read_bytes() == before
    assert [path.name for path in shard.parent.iterdir()] == ["s.h5"]


def test_digest_tells_settings_apart() -> None:
    other = Description("corpus", "test", ["a", "b", "c"], 10.0, settings={"x": 2})
    assert other.settings_digest != DESCRIPTION.settings_digest


def test_missing_truncated_and_foreign_files_are_named(shard: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.h5: missing or no HDF5 file"):
        Shard(tmp_path / "gone.h5")
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(UserError, match=r"s\.h5: missing or no HDF5 file"):
        Shard(shard)
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(UserError, match=r"foreign\.h5: not a shard"):
        Shard(tmp_path / "foreign.h5")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.attrs.__setitem__("format_version", 99), "format version 99, expected 2"),
        (lambda f: f["offsets"].__setitem__(3, 99), "offsets do not fit"),
        (lambda f: f["valid"].resize(2, axis=0), "valid marks do not fit"),
        (lambda f: f.__delitem__("status"), "status"),
    ],
)
def test_inconsistent_files_are_refused(shard: Path, damage: object, message: str) -> None:
    with h5py.File(shard, "r+") as file:
        damage(file)  # type: ignore[operator]
    with pytest.raises(UserError, match=message):
        Shard(shard)

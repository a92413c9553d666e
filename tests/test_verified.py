"""What is read is what was written: truncated, bit-flipped and foreign files are named and refused by every reader."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mse.data import ClipDataset
from mse.errors import UserError
from mse.store import Clip, Description, Shard, write_shard
from tests.made import WIDTHS, make_dataset

FLIPS = 400  # places in a file, evenly spread; each loses one bit or gains one


def damaged(path: Path, rng: np.random.Generator) -> "list[bytes]":
    """The file cut off at twenty lengths, and with one bit of one byte turned over at FLIPS places."""
    whole = path.read_bytes()
    cut = [whole[:length] for length in np.linspace(0, len(whole) - 1, 20).astype(int)]
    flipped = []
    for place in np.linspace(0, len(whole) - 1, FLIPS).astype(int):
        flipped.append(bytearray(whole))
        flipped[-1][place] ^= 1 << rng.integers(8)
    return [*cut, *map(bytes, flipped)]


def refused_or_the_same(path: Path, read: Callable[[], Any], share: float) -> None:
    """Each damaged version is refused with the file's name, or what is read is what was written.

    Args:
        path: the file, put right again at the end.
        read: gives all that it holds, as something that can be compared.
        share: of the versions, at least so many must be refused.
    """
    whole, right, refused = path.read_bytes(), read(), 0
    versions = damaged(path, np.random.default_rng(0))
    for number, version in enumerate(versions):
        path.write_bytes(version)
        try:
            found = read()
        except UserError as e:
            assert path.name in str(e)
            refused += 1
        else:
            assert found == right, f"version {number} was taken for what was written"
    path.write_bytes(whole)
    assert refused >= share * len(versions)


def contents(clip: Clip) -> tuple[object, ...]:
    facts = {name: repr(value) for name, value in clip.facts.items()}
    return clip.clip_id, clip.values.tobytes(), clip.valid.tobytes(), clip.status, clip.message, facts


def all_of(path: Path) -> tuple[object, ...]:
    with Shard(path) as shard:
        return str(shard.description), [contents(clip) for clip in shard]


@pytest.mark.parametrize("compressible", [True, False])
def test_shards(tmp_path: Path, compressible: bool) -> None:
    """Values that can't be made smaller lie on the disk as they are."""
    rng = np.random.default_rng(1)
    clips = []
    for number in range(4):
        values = rng.integers(0, 3 if compressible else 1 << 32, (50, 4), np.uint32).view(np.float32)
        clips.append(Clip(f"clip {number}", values, rng.random(50) < 0.9, message="ü", facts={"faces": float(number)}))
    description = Description("corpus", "facial", "test", list("abcd"), 10.0, versions={"mse": "0"})
    write_shard(tmp_path / "0000.h5", description, clips)
    refused_or_the_same(tmp_path / "0000.h5", lambda: all_of(tmp_path / "0000.h5"), 0.5)


def test_dataset(tmp_path: Path) -> None:
    index = make_dataset(tmp_path, clips=8)

    def read() -> list[tuple[object, ...]]:
        with ClipDataset(index) as dataset:
            found = [dataset[number] for number in range(len(dataset))]
        return [(c.clip_id, c.text, c.label, c.acoustic.tobytes(), c.facial.tobytes()) for c in found]

    refused_or_the_same(index, read, 0.3)
    refused_or_the_same(tmp_path / "facial.h5", read, 0.5)


@pytest.mark.parametrize("modality", WIDTHS)
def test_shard_that_took_anothers_place(tmp_path: Path, modality: str) -> None:
    """Of the same clips, with other values: made anew, or by another corpus."""
    index, path = make_dataset(tmp_path, clips=8), tmp_path / f"{modality}.h5"
    with Shard(path) as shard:
        made, clips = shard.description, list(shard)
    changed = [Clip(c.clip_id, c.values + 1, c.valid, c.status, c.message) for c in clips]
    write_shard(path, made, changed)
    with ClipDataset(index) as dataset, pytest.raises(UserError, match=rf"{modality}\.h5: changed since .*dataset\.h5"):
        dataset[0]

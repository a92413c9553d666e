"""Shards of features and the index over them, changed by one who knows HDF5."""

import io
import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.fuzzing import BYTES, TOKENS, Mutator, Reader, Readers, flip


def _in_hdf5(rng: random.Random, data: bytes) -> bytes:
    """Something in an HDF5 file replaced by what does not belong there; checksums fit."""
    held = io.BytesIO(data)
    try:
        with h5py.File(held, "r+") as file:
            names: list[str] = []
            file.visit(names.append)
            name, holder = rng.choice([*names, ""]), file
            node = file[name] if name else file
            if not name or rng.random() < 0.3:
                attributes = list(node.attrs) or ["format_version"]
                node.attrs[rng.choice(attributes)] = rng.choice(ATTRIBUTES)
            elif isinstance(node, h5py.Dataset) and node.size and rng.random() < 0.4:
                _another_element(rng, node)
            else:
                del holder[name]
                rng.choice(REPLACEMENTS)(holder, name)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, OverflowError):
        return flip(rng, data)  # it was mutated before, and is no HDF5 file any more
    return held.getvalue()


def _another_element(rng: random.Random, dataset: Any) -> None:
    place = tuple(rng.randrange(length) for length in dataset.shape)
    if dataset.dtype.kind in "OS":
        dataset[place] = rng.choice(TOKENS).replace("\0", "").encode() or b"\xff\xfe"
    elif dataset.dtype.kind == "b":
        dataset[place] = not dataset[place]
    elif dataset.dtype.kind == "f":
        dataset[place] = rng.choice((np.nan, np.inf, -1e30))
    else:
        dataset[place] = rng.choice((0, 1, 255, np.iinfo(dataset.dtype).max, np.iinfo(dataset.dtype).min))


ATTRIBUTES: list[Any] = [
    *("", "x", "{", "[]", "null", "[" * 100_000, "9" * 5000, 1, -1, 99, float("nan"), np.zeros(3), b"\xff\xfe", "[1]"),
    *(np.bytes_(text) for text in ("", "[]", "null", "[" * 5000, '{"task": 7}', '["a"]', b"\xff", "9" * 5000)),
    *(
        '{"a": ' * 2000 + "1" + "}" * 2000,
        '["a", "b", "c"]',
        np.array(["a", "b"], object),
        h5py.Empty("f4"),
        '{"task": 7}',
    ),
]
REPLACEMENTS: list[Callable[[Any, str], object]] = [
    lambda file, name: None,
    lambda file, name: file.create_group(name),
    lambda file, name: file.create_dataset(name, data=7),
    lambda file, name: file.create_dataset(name, data="text"),
    lambda file, name: file.create_dataset(name, data=h5py.Empty("f4")),
    lambda file, name: file.create_dataset(name, data=np.zeros((3, 2, 2))),
    lambda file, name: file.create_dataset(name, data=np.array([1.5, np.nan, 3.0])),
    lambda file, name: file.create_dataset(name, data=np.array([b"a", b"\xff", b"c"])),
    lambda file, name: file.create_dataset(name, data=np.zeros(3, [("a", "f4"), ("b", "S3")])),
    lambda file, name: file.create_dataset(name, (1 << 40,), "f8", chunks=(1 << 16,)),
    lambda file, name: file.create_dataset(name, (1 << 34,), "u1"),
    lambda file, name: file.create_dataset(
        name, (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10), compression="gzip"
    ),
    lambda file, name: file.create_dataset(name, (30,), "u1", external=[("/etc/passwd", 0, 30)]),
    lambda file, name: file.create_virtual_dataset(name, _virtual()),
    lambda file, name: file.__setitem__(name, h5py.ExternalLink("/etc/passwd", "/x")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/offsets")),
    lambda file, name: file.__setitem__(name, h5py.SoftLink("/nowhere")),
    lambda file, name: file.__setitem__(name, file["/"]),
]


def _virtual() -> Any:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    return layout


def _sealed_again(mutate: Mutator) -> Mutator:
    """The same by someone who knows how files are sealed, so that HDF5 gets to see it; mostly."""
    from mse.sealed import SEAL_BYTES, seal

    def mutated(rng: random.Random, data: bytes) -> bytes:
        changed = mutate(rng, data)
        if rng.random() < 0.1:
            return changed
        with tempfile.NamedTemporaryFile() as file:
            file.write(changed.ljust(SEAL_BYTES, b"\0"))
            file.flush()
            seal(Path(file.name))
            return Path(file.name).read_bytes()

    return mutated


HDF5: tuple[Mutator, ...] = tuple(map(_sealed_again, (*BYTES, *5 * (_in_hdf5,))))


def shards(folder: Path) -> Readers:
    """Shards of features, and the index over them."""
    from mse.data import EVERY, ClipDataset
    from mse.store import Shard
    from tests.made import make_dataset

    make_dataset(folder, 8)
    files = {name: (folder / name).read_bytes() for name in ("dataset.h5", "acoustic.h5", "facial.h5")}

    def read_shard(place: Path) -> None:
        with Shard(place / "acoustic.h5") as shard:
            for clip in shard:
                assert clip.values.shape == (len(clip.valid), len(shard.description.feature_names))
            assert shard.description.settings_digest

    def read_dataset(place: Path) -> None:
        with ClipDataset(place / "dataset.h5", EVERY) as dataset:
            for index in range(len(dataset)):
                dataset[index]
            dataset.require("train")

    return {
        "shard": Reader({"acoustic.h5": files["acoustic.h5"]}, read_shard, HDF5),
        "dataset": Reader(files, read_dataset, HDF5, ("dataset.h5", "dataset.h5", "acoustic.h5")),
    }

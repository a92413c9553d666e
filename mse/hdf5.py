"""Read HDF5 files that may be damaged, or made by a stranger: nothing is taken for what it is not.

HDF5 can keep a dataset's values in any other file, and say that a few bytes are an array of any size; both are refused
before anything is read. What is read has the type and the number of axes that was asked for. Texts have a fixed
length: those of any length lie in the one part of a file that has no checksum, and one wrong byte there keeps the
library (1.14) busy for ever.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
import numpy.typing as npt

from mse.errors import UserError

MOST_PACKED = 1100  # bytes that one on disk can stand for; zlib's limit is 1032
T = TypeVar("T")


@contextmanager
def sound(path: Path, what: str, advice: str) -> Iterator[None]:
    """Name the file where what is read of it in the block is damaged, or not what was asked for.

    Args:
        path: the file.
        what: it should be, such as "a shard".
        advice: what to do, for the message.

    Raises:
        UserError: the library can't read it, or something in it is missing or wrong.
    """
    try:
        yield
    except KeyError as e:
        raise UserError(f"{path}: not {what} that can be used: {e.args[0]}; {advice}") from e
    except (OSError, RuntimeError, ValueError) as e:  # the library's own errors are of the first two
        raise UserError(f"{path}: not {what} that can be used: {e}; {advice}") from e


def write_texts(holder: h5py.Group, name: str, values: Sequence[str]) -> None:
    """Write texts as UTF-8, each padded to the longest."""
    encoded = [value.encode() for value in values]
    kind = f"S{max([1, *map(len, encoded)])}"
    packed = {"compression": "gzip"} if encoded else {}
    holder.create_dataset(name, data=np.array(encoded, kind), **packed)


def write_attributes(holder: h5py.Group, values: Mapping[str, str | float]) -> None:
    """Write texts and numbers as attributes."""
    for name, value in values.items():
        data = value.encode() if isinstance(value, str) else value
        holder.attrs.create(name, data, dtype=f"S{max(1, len(data))}" if isinstance(data, bytes) else None)


def group(holder: h5py.Group, name: str) -> h5py.Group:
    """A group within the file.

    Raises:
        KeyError: it is not there.
        ValueError: it is none, or lies in another file.
    """
    return _held(holder, name, h5py.Group)


def dataset(holder: h5py.Group, name: str, kinds: str, axes: int = 1) -> h5py.Dataset:
    """A dataset whose values lie in the file, all of them.

    Args:
        holder: the file or a group.
        name: in it.
        kinds: NumPy's letters of the types that it may have; S are texts.
        axes: how many it has.

    Raises:
        KeyError: it is not there.
        ValueError: it is none, of another type or shape, or not in the file.
    """
    found = _held(holder, name, h5py.Dataset)
    if found.is_virtual or found.external:
        raise ValueError(f"the values of {name!r} lie in another file")
    if found.shape is None or found.ndim != axes or found.dtype.kind not in kinds:
        raise ValueError(f"{name!r} is of the type {found.dtype} and the shape {found.shape}")
    elements = max(found.size, math.prod(found.chunks or (0,)) if found.size else 0)
    if elements * found.dtype.itemsize > found.id.get_storage_size() * MOST_PACKED:
        raise ValueError(f"{name!r} is larger, {found.shape}, than what is stored can fill")
    return found


def array(holder: h5py.Group, name: str, kinds: str) -> npt.NDArray[Any]:
    """All values of a dataset with one axis; raises what `dataset` does."""
    return np.asarray(dataset(holder, name, kinds)[:])


def texts(holder: h5py.Group, name: str) -> list[str]:
    """A dataset of texts; raises what `dataset` does."""
    return [text.decode() for text in dataset(holder, name, "S")[:]]


def attribute(holder: h5py.Group, name: str, kind: type[T]) -> T:
    """An attribute that is a text or a number.

    Raises:
        KeyError: it is not there.
        ValueError: it is of another type.
    """
    found = holder.attrs.get_id(name)
    if found.shape != () or found.dtype.kind not in "Sif":
        raise ValueError(f"the attribute {name!r} is of the type {found.dtype} and the shape {found.shape}")
    value = holder.attrs[name].item()
    if isinstance(value, bytes):
        value = value.decode()
    if kind is float and isinstance(value, int):
        value = float(value)
    if not isinstance(value, kind):
        raise ValueError(f"the attribute {name!r} holds {type(value).__name__}, expected {kind.__name__}")
    return value


def parsed(holder: h5py.Group, name: str, kind: type[T]) -> T:
    """An attribute that holds JSON; raises what `attribute` does."""
    try:
        value = json.loads(attribute(holder, name, str))
    except RecursionError as e:
        raise ValueError(f"the attribute {name!r} is nested too deeply") from e
    if not isinstance(value, kind):
        raise ValueError(f"the attribute {name!r} holds {type(value).__name__}, expected {kind.__name__}")
    return value


def _held(holder: h5py.Group, name: str, kind: Any) -> Any:
    link = holder.get(name, getlink=True)
    if link is None:
        raise KeyError(f"there is no {name!r}")
    if not isinstance(link, h5py.HardLink):
        raise ValueError(f"{name!r} leads to something else")
    found = holder[name]
    if not isinstance(found, kind):
        raise ValueError(f"{name!r} is no {kind.__name__.lower()}")
    return found

"""The shard file: features of many clips in one HDF5 file, written atomically, read lazily, verified.

Attributes: format_version, dataset, modality, extractor, settings (JSON), settings_digest, feature_names (JSON),
rate_hz, versions (JSON). Datasets for N clips with T frames in all: clip_id (N), offsets (N+1), values (T, D),
valid (T), status (N), message (N). Frame t of clip i is values[offsets[i] + t], t / rate_hz seconds after the
clip's start. A frame that could not be measured keeps its place with valid = False and NaN for what is unknown; a clip
that could not be read has no frames, a status and a message. The group `facts` may hold numbers about clips, each (N).
The file is sealed (mse.sealed): what is read is what was written.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

import mse
from mse import hdf5
from mse.errors import UserError
from mse.sealed import ANEW, open_sealed, writing

FORMAT_VERSION = 2
CHUNK_BYTES = 1 << 18  # large enough to compress well, small enough to read one clip at a time


class Status(IntEnum):
    """What became of a clip in one stage."""

    ok = 0
    cut = 1  # usable, but not whole
    missing = 2  # no such file
    unreadable = 3  # not a media file, or damaged
    no_stream = 4  # the file lacks the sound or the picture
    out_of_range = 5  # the clip starts after the recording's end
    too_short = 6
    nothing_found = 7  # readable, but mute, without a face or without words
    failed = 8  # the extractor gave an error

    @property
    def usable(self) -> bool:
        """True where the clip has features."""
        return self in (Status.ok, Status.cut)


def require_status(name: str, whose: str, made_by: str) -> None:
    """Make sure that a table's cell names a status.

    Raises:
        UserError: it does not.
    """
    if name not in Status.__members__:
        raise UserError(
            f"{whose}: the status is {name!r}, expected one of {', '.join(Status.__members__)}; `{made_by}` makes the "
            "table anew"
        )


TRIED = (Status.ok, Status.cut, Status.nothing_found, Status.failed)  # by the stage itself
SUSPICIOUS = 5  # clips of a shard that fail, where no other does not


@dataclass(frozen=True)
class Clip:
    """The features of one clip in one shard.

    Attributes:
        values: shape (T, D).
        valid: shape (T,), False where a frame could not be measured.
        status: what became of the clip.
        message: why, where the status is not ok.
        facts: numbers about the clip as a whole, by name.
    """

    clip_id: str
    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    status: Status = Status.ok
    message: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What a shard holds and what made it."""

    dataset: str
    modality: str  # sound (as samples), acoustic or facial
    extractor: str
    feature_names: list[str]
    rate_hz: float
    dtype: str = "float32"
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings_digest(self) -> str:
        """Short SHA-256 of extractor and settings; shards with equal digests may be used together."""
        text = json.dumps([self.extractor, self.settings], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def refuse_all_failed(found: Iterable[tuple[Status, str]], where: str) -> None:
    """Many clips that fail, and none that does not, are no fault of theirs, and not to be kept.

    Args:
        found: status and message of each clip of a shard.
        where: the shard's file, for the message.

    Raises:
        UserError: so it is; the message is the last clip's.
    """
    tried = [(status, message) for status, message in found if status in TRIED]
    if len(tried) >= SUSPICIOUS and all(status is Status.failed for status, _ in tried):
        raise UserError(f"{where}: all {len(tried)} clips failed, the last with: {tried[-1][1]}; nothing was kept")


def versions(*packages: str) -> dict[str, str]:
    """Versions of mse and of the libraries that made a shard."""
    return {"mse": mse.__version__, **{package: importlib.metadata.version(package) for package in packages}}


def write_shard(path: Path, description: Description, clips: Iterable[Clip]) -> None:
    """Write clips as they come, one at a time in memory, and rename the file into place at the end."""
    width = len(description.feature_names)
    chunk = max(1, CHUNK_BYTES // (width * np.dtype(description.dtype).itemsize))
    packed: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
    with writing(path) as file:
        values = file.create_dataset(
            "values", (0, width), description.dtype, maxshape=(None, width), chunks=(chunk, width), **packed
        )
        valid = file.create_dataset("valid", (0,), bool, maxshape=(None,), chunks=(chunk,), **packed)
        ids, offsets, status, messages, facts = [], [0], [], [], []
        for clip in clips:
            end = offsets[-1] + len(clip.values)
            values.resize(end, axis=0)
            valid.resize(end, axis=0)
            values[offsets[-1] : end] = clip.values
            valid[offsets[-1] : end] = clip.valid
            ids.append(clip.clip_id)
            offsets.append(end)
            status.append(clip.status)
            messages.append(clip.message)
            facts.append(clip.facts)
        hdf5.write_texts(file, "clip_id", ids)
        file.create_dataset("offsets", data=np.asarray(offsets, np.int64))
        enumeration = h5py.enum_dtype({s.name: s.value for s in Status}, basetype="u1")
        file.create_dataset("status", data=np.asarray(status, np.uint8), dtype=enumeration)
        hdf5.write_texts(file, "message", messages)
        group = file.create_group("facts")
        for name in dict.fromkeys(name for known in facts for name in known):
            group.create_dataset(name, data=np.array([known.get(name, np.nan) for known in facts], np.float64))
        about: dict[str, str | float] = {
            "format_version": FORMAT_VERSION,
            "dataset": description.dataset,
            "modality": description.modality,
            "extractor": description.extractor,
            "settings": json.dumps(description.settings, sort_keys=True),
            "settings_digest": description.settings_digest,
            "feature_names": json.dumps(description.feature_names),
            "rate_hz": description.rate_hz,
            "versions": json.dumps(description.versions, sort_keys=True),
        }
        hdf5.write_attributes(file, about)


class Shard:
    """An open shard file. Clips are read when asked for.

    Raises:
        UserError: the file is missing, foreign, of another format version, or inconsistent; so does reading a clip
            whose values are damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self.digest = open_sealed(path)
        try:
            with hdf5.sound(path, "a shard", ANEW):
                self._read_index()
        except UserError:
            self._file.close()
            raise

    def _read_index(self) -> None:
        file = self._file
        version = hdf5.attribute(file, "format_version", int)
        if version != FORMAT_VERSION:
            raise ValueError(f"format version {version}, expected {FORMAT_VERSION}")
        self._values, self._valid = hdf5.dataset(file, "values", "fi", axes=2), hdf5.dataset(file, "valid", "b")
        self.description = Description(
            dataset=hdf5.attribute(file, "dataset", str),
            modality=hdf5.attribute(file, "modality", str),
            extractor=hdf5.attribute(file, "extractor", str),
            feature_names=hdf5.parsed(file, "feature_names", list),
            rate_hz=hdf5.attribute(file, "rate_hz", float),
            dtype=str(self._values.dtype),
            settings=hdf5.parsed(file, "settings", dict),
            versions=hdf5.parsed(file, "versions", dict),
        )
        self.clip_ids, self.messages = hdf5.texts(file, "clip_id"), hdf5.texts(file, "message")
        self.offsets: npt.NDArray[np.int64] = hdf5.array(file, "offsets", "i")
        self.status = [Status(s) for s in hdf5.array(file, "status", "u")]
        facts = hdf5.group(file, "facts")
        self.facts: dict[str, npt.NDArray[np.float64]] = {name: hdf5.array(facts, name, "f") for name in facts}
        n, (frames, width) = len(self.clip_ids), self._values.shape
        if len(set(self.clip_ids)) < n:
            raise ValueError("a clip stands in it twice")
        if not len(self.offsets) == n + 1 == len(self.status) + 1 == len(self.messages) + 1:
            raise ValueError("its index does not have one entry a clip")
        if self.offsets[0] != 0 or self.offsets[-1] != frames or (self.offsets[1:] < self.offsets[:-1]).any():
            raise ValueError("its offsets do not fit its values")
        if any(len(numbers) != n for numbers in self.facts.values()):
            raise ValueError("its facts do not have one number a clip")
        if len(self._valid) != frames:
            raise ValueError("its valid marks do not fit its values")
        if len(self.description.feature_names) != width:
            raise ValueError("its values do not have one column a feature's name")

    def require(self, modality: str, dataset: str | None = None) -> None:
        """Make sure that the shard is of this modality, and of this corpus.

        Raises:
            UserError: it is another's.
        """
        for what, found, expected in (
            ("modality", self.description.modality, modality),
            ("corpus", self.description.dataset, dataset),
        ):
            if expected is not None and found != expected:
                raise UserError(f"{self.path}: of the {what} {found!r}, not {expected!r}; {ANEW}")

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> Clip:
        begin, end = self.offsets[index], self.offsets[index + 1]
        with hdf5.sound(self.path, "a shard", ANEW):
            values, valid = self._values[begin:end], self._valid[begin:end]
        return Clip(
            self.clip_ids[index],
            values,
            valid,
            self.status[index],
            self.messages[index],
            {name: float(numbers[index]) for name, numbers in self.facts.items()},
        )

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def close(self) -> None:
        """Close the file; the index stays readable."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

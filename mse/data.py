"""dataset.h5 for torch: clips with normalised features, and batches of clips of like length."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import h5py
import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel
from torch import Tensor

from mse import hdf5
from mse.assemble import FORMAT_VERSION, MODALITIES
from mse.clock import side_by_side
from mse.config import Extraction, Task
from mse.errors import UserError
from mse.sealed import open_sealed
from mse.store import Description, Shard

EVERY = (*MODALITIES, "text")
STATISTICS = ("mean", "deviation")
POOL_BATCHES = 8  # clips are sorted by length within pools of this many batches, so order stays random


@dataclass(frozen=True)
class Example:
    """One clip: acoustic (T, D) and facial (T', D') features, T = 0 where the clip has none."""

    clip_id: str
    text: str
    label: float
    acoustic: npt.NDArray[np.float32]
    facial: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """B clips; features are padded with zeros, lengths tell how many frames are real.

    A modality that the corpus lacks has the width 0 and no frames.
    """

    clip_ids: list[str]
    texts: list[str]
    labels: list[float]
    acoustic: tuple[Tensor, Tensor]  # (B, T, D), (B,)
    facial: tuple[Tensor, Tensor]  # (B, T', D'), (B,)

    def to(self, device: torch.device) -> Self:
        """The same clips with their features on a device."""
        acoustic, facial = ((values.to(device), lengths.to(device)) for values, lengths in (self.acoustic, self.facial))
        return replace(self, acoustic=acoustic, facial=facial)


class Clips(Protocol):
    """Clips that an LLM can be asked about, wherever they come from."""

    preamble: str
    prompt: str
    texts: list[str]

    def __getitem__(self, index: int) -> Example:
        """One clip."""
        ...


@dataclass(frozen=True)
class Normaliser:
    """Features as an adapter reads them: by the train split's mean and deviation, (D,) each, and clipped.

    Attributes:
        mean, deviation: of each feature; None: features stay as they were measured.
        clip_sd: the most deviations from the mean that are kept.
    """

    mean: npt.NDArray[np.float32] | None
    deviation: npt.NDArray[np.float32] | None
    clip_sd: float

    def __call__(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Features (T, D) of one clip; what was not measured is 0."""
        if not len(values):
            return values
        if self.mean is None or self.deviation is None:
            return np.nan_to_num(values, nan=0.0)
        normal = (values - self.mean) / self.deviation
        return np.nan_to_num(np.clip(normal, -self.clip_sd, self.clip_sd), nan=0.0).astype(np.float32)


class _Description(BaseModel):
    """What dataset.h5 says of its corpus."""

    task: Task | None
    language: str
    preamble: str
    prompt: str
    extraction: Extraction | None


class _SetIndex:
    """One set's group of dataset.h5, read (see mse.assemble.FeatureSet)."""

    def __init__(self, group: h5py.Group, clips: int) -> None:
        self.shards, self.shard_digests = hdf5.texts(group, "shards"), hdf5.texts(group, "shard_digests")
        self.shard, self.row = (hdf5.array(group, name, "i") for name in ("shard", "row"))
        self.present = hdf5.array(group, "present", "b")
        self.mean, self.deviation = (hdf5.array(group, name, "f") for name in STATISTICS)
        self.rate_hz = hdf5.attribute(group, "rate_hz", float)
        self.digest = hdf5.attribute(group, "settings_digest", str)
        if not len(self.shard) == len(self.row) == len(self.present) == clips or len(self.mean) != len(self.deviation):
            raise ValueError(f"the parts of {group.name} do not fit each other")
        if len(self.shard_digests) != len(self.shards):
            raise ValueError(f"{group.name} does not have one digest a shard")
        if (self.shard[self.present] >= len(self.shards)).any() or (self.shard < 0).any() or (self.row < 0).any():
            raise ValueError(f"{group.name} names shards and rows that can't be")


class ClipDataset:
    """The clips of dataset.h5, read one at a time out of the feature shards.

    Args:
        path: dataset.h5.
        modalities: those to give; any other is as in a corpus that lacks it. None: all that there are.
        standardised: features are standardised by the train split's statistics, and clipped.
        acoustic_sets: sets of acoustic features to put side by side, in this order; none given: all that there are.

    Raises:
        UserError: the file is missing, foreign, or of another format version; or it has none of the modalities, or not
            one of the sets.
    """

    def __init__(
        self,
        path: Path,
        modalities: Collection[str] | None = None,
        standardised: bool = True,
        acoustic_sets: Sequence[str] = (),
    ) -> None:
        self.path, self.standardised = path, standardised
        self._chosen = {"acoustic": list(acoustic_sets)}
        self.used = set(EVERY if modalities is None else modalities)
        file, _ = open_sealed(path)
        with file, hdf5.sound(path, "an assembled dataset", "make it with `mse assemble`"):
            self._read(file)

    def _read(self, file: h5py.File) -> None:
        version = hdf5.attribute(file, "format_version", int)
        if version != FORMAT_VERSION:
            raise ValueError(f"format version {version}, expected {FORMAT_VERSION}")
        self.name = hdf5.attribute(file, "name", str)
        described = _Description.model_validate_json(hdf5.attribute(file, "description", str))
        self.task, self.extraction = described.task, described.extraction
        self.language, self.preamble, self.prompt = described.language, described.preamble, described.prompt
        self.unusable: dict[str, int] = hdf5.parsed(file, "unusable", dict)
        self.clip_sd = hdf5.attribute(file, "clip_sd", float)
        self.clip_ids, self.splits, self.texts = (hdf5.texts(file, column) for column in ("clip_id", "split", "text"))
        present = [m for m in MODALITIES if m in file]
        there = [*present, *(["text"] if any(self.texts) else [])]
        if not self.used & set(there):
            raise UserError(
                f"{self.path}: the corpus has {', '.join(there) or 'nothing'}, and so none of adapter.modalities = "
                f"[{', '.join(sorted(self.used))}]"
            )
        if "text" not in self.used:
            self.texts = [""] * len(self.texts)
        self.labels: npt.NDArray[np.float64] = hdf5.array(file, "label", "f")
        extra = hdf5.group(file, "extra")
        self.extra = {name: hdf5.texts(extra, name) for name in extra}
        lengths = {len(self.splits), len(self.texts), len(self.labels), *map(len, self.extra.values())}
        if lengths != {len(self)}:
            raise ValueError("its columns do not have one entry a clip")
        present = [m for m in present if m in self.used]
        names = {m: self._names(file, m) for m in present}
        self.acoustic_sets = names.get("acoustic", [])
        self._sets = {
            m: [_SetIndex(hdf5.group(hdf5.group(file, m), name), len(self)) for name in names[m]] for m in present
        }
        self.feature_digests = {m: "+".join(part.digest for part in sets) for m, sets in self._sets.items()}
        self.widths = {m: sum(len(part.mean) for part in self._sets.get(m, [])) for m in MODALITIES}
        self._normalisers = {m: self._normaliser(sets) for m, sets in self._sets.items()}
        self._open: dict[Path, Shard] = {}

    def _names(self, file: h5py.File, modality: str) -> list[str]:
        """The chosen sets of a modality."""
        there = sorted(hdf5.group(file, modality))
        chosen = self._chosen.get(modality) or there
        unknown = [name for name in chosen if name not in there]
        if unknown:
            raise UserError(
                f"{self.path}: no {modality} set {', '.join(unknown)} (adapter.{modality}_sets); it has "
                f"{', '.join(there)}, by the section {modality} of the configuration"
            )
        return chosen

    def indices(self, split: str) -> list[int]:
        """Numbers of the clips of a split."""
        return [index for index, name in enumerate(self.splits) if name == split]

    def require(self, split: str) -> list[int]:
        """Numbers of the clips of a split that there must be.

        Raises:
            UserError: there are none.
        """
        found = self.indices(split)
        if not found:
            there = ", ".join(sorted(set(self.splits)))
            raise UserError(f"{self.path}: no clip in the split {split!r}; expected one of {there}")
        return found

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> Example:
        return Example(
            self.clip_ids[index],
            self.texts[index],
            float(self.labels[index]),
            self._features("acoustic", index),
            self._features("facial", index),
        )

    def raw(self, modality: str, index: int) -> npt.NDArray[np.float32]:
        """Features of one clip as they were measured, shape (T, D): NaN for what is unknown, T = 0 without any."""
        sets = self._sets.get(modality, [])
        parts = [self._read_set(part, index) for part in sets]
        if not any(map(len, parts)):
            return np.zeros((0, self.widths[modality]), np.float32)
        return side_by_side(parts, [part.rate_hz for part in sets]) if len(parts) > 1 else parts[0]

    def _read_set(self, part: "_SetIndex", index: int) -> npt.NDArray[np.float32]:
        """One set's features of one clip, shape (T, D); T = 0 where it lacks them."""
        if not part.present[index]:
            return np.zeros((0, len(part.mean)), np.float32)
        number = part.shard[index]
        path = self.path.parent / part.shards[number]
        if path not in self._open:
            shard = Shard(path)
            if shard.digest != part.shard_digests[number]:
                raise UserError(f"{path}: changed since {self.path} was assembled; assemble again")
            self._open[path] = shard
        shard, row = self._open[path], int(part.row[index])
        clip = shard[row] if row < len(shard) else None
        if clip is None or clip.clip_id != self.clip_ids[index] or clip.values.shape[1] != len(part.mean):
            raise UserError(f"{path}: does not hold what {self.path} says; assemble again")
        return clip.values.astype(np.float32, copy=False)

    def _features(self, modality: str, index: int) -> npt.NDArray[np.float32]:
        values = self.raw(modality, index)
        return self._normalisers[modality](values) if modality in self._normalisers else values

    def _normaliser(self, sets: Sequence["_SetIndex"]) -> Normaliser:
        if not self.standardised:
            return Normaliser(None, None, self.clip_sd)
        mean, deviation = (np.concatenate([getattr(part, name) for part in sets]) for name in STATISTICS)
        return Normaliser(mean, deviation, self.clip_sd)

    def sets(self, modality: str) -> dict[str, tuple[Description, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """What made each set of a modality, and the train split's mean and deviation (D,) of it."""
        names = self.acoustic_sets if modality == "acoustic" else [modality]
        found = {}
        for name, part in zip(names, self._sets.get(modality, []), strict=False):
            with Shard(self.path.parent / part.shards[0]) as shard:
                found[name] = (shard.description, part.mean, part.deviation)
        return found

    def close(self) -> None:
        """Close the shards that were opened."""
        while self._open:
            self._open.popitem()[1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def collate(examples: Sequence[Example]) -> Batch:
    """Pad the features of some clips to the longest."""
    return Batch(
        [example.clip_id for example in examples],
        [example.text for example in examples],
        [example.label for example in examples],
        _pad([example.acoustic for example in examples]),
        _pad([example.facial for example in examples]),
    )


def _pad(sequences: list[npt.NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    padded = torch.zeros(len(sequences), max(1, int(lengths.max())), sequences[0].shape[1])
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = torch.from_numpy(sequence)
    return padded, lengths


def bucketed(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """A random order of batches whose clips are of like length, so that little is padding.

    Args:
        lengths: the length that matters (tokens of the text) of each clip.
        batch_size: clips a batch; the last may be smaller.
        generator: source of randomness.

    Returns:
        Positions in `lengths`, each exactly once.
    """
    order = torch.randperm(len(lengths), generator=generator).tolist()
    pool = batch_size * POOL_BATCHES
    batches = []
    for start in range(0, len(order), pool):
        like = sorted(order[start : start + pool], key=lambda index: lengths[index])
        batches += [like[first : first + batch_size] for first in range(0, len(like), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def task_of(dataset: ClipDataset) -> Task:
    """The task of a dataset that is to be learned.

    Raises:
        UserError: the corpus has no task.
    """
    if dataset.task is None:
        raise UserError(f"{dataset.path}: the corpus has no task (key `task` of its YAML); nothing can be learned")
    return dataset.task

"""dataset.h5: an index over the feature shards, with splits, labels, texts and train-split statistics.

A modality is a group; each of its sets of features (acoustic/egemaps, acoustic/wav2vec2, facial/facial) is one within.
"""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd

from mse import hdf5
from mse.config import AssembleSettings, Dataset, Extraction
from mse.corpus import SPLITS, read_manifest
from mse.corpus.build import label_value
from mse.errors import UserError
from mse.quality import STAGES, read_quality, unfit
from mse.sealed import ANEW, writing
from mse.store import Shard, Status

FORMAT_VERSION = 5
MODALITIES = ("acoustic", "facial")


@dataclass(frozen=True)
class FeatureSet:
    """Where each clip's features of one set lie, and the train split's statistics.

    Attributes:
        shards: paths of the shard files, relative to dataset.h5.
        shard_digests: what tells these shards from others that may take their names.
        shard: for each clip the number of its shard, shape (N,).
        row: for each clip its place in that shard, shape (N,).
        present: False where a clip has no usable features, shape (N,).
        settings_digest: what the features were made with; an adapter works with these alone.
        mean, deviation: over the train split's frames, shape (D,); 0 and 1 where there is no train split.
    """

    shards: list[str]
    shard_digests: list[str]
    shard: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    present: npt.NDArray[np.bool_]
    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    feature_names: list[str]
    rate_hz: float
    settings_digest: str


def assemble(
    name: str,
    dataset: Dataset,
    manifest: Path,
    quality: Path,
    shards: Mapping[str, Sequence[Path]],
    out: Path,
    settings: AssembleSettings,
    extraction: Extraction | None = None,
) -> None:
    """Write dataset.h5.

    Args:
        name: the corpus's name.
        dataset: its description (task, prompt and where the text comes from).
        manifest: manifest.csv.
        quality: quality.csv.
        shards: for each set of features (MODALITY/NAME, or MODALITY where it has no other) its shard files.
        out: the index to write.
        settings: clipping and the share of clips that may be unusable.
        extraction: noted for those who extract the same from new recordings; None: features that others released.

    Raises:
        UserError: too many clips are unusable, a split is empty, or shards do not fit together.
    """
    clips = read_manifest(manifest)
    judged = _judged(quality, clips, manifest)
    try:
        clips["label"] = [label_value(label, dataset.task) for label in clips["label"]]
    except ValueError as e:
        raise UserError(f"{manifest}: {e}; these are no labels of the corpus's task; {ANEW}") from e
    _check_bad_fraction(judged, quality, settings)
    unusable = (judged["use"] == "unusable").groupby(judged["split"]).sum().to_dict()
    if dataset.needs_asr:
        clips["text"] = judged["asr_text"].where(~unfit(judged, "text"), "").to_numpy()
    if "text" not in dataset.modalities:
        clips["text"] = ""
    used = (judged["use"] != "unusable").to_numpy()
    clips, judged = clips[used].reset_index(drop=True), judged[used]
    if dataset.task:
        _check_splits(clips, manifest)
    sets = {group_of(each): _index(name, clips, judged, paths, out, each) for each, paths in shards.items()}
    with writing(out) as file:
        hdf5.write_attributes(file, _attributes(name, dataset, extraction, settings, unusable))
        for column in ("clip_id", "split", "speaker", "text"):
            hdf5.write_texts(file, column, clips[column].tolist())
        file.create_dataset("label", data=clips["label"].to_numpy(np.float64))
        extra = file.create_group("extra")
        for column in dataset.columns.extra:
            hdf5.write_texts(extra, column, clips[column].tolist())
        for each, index in sets.items():
            _write_set(file.create_group(each), index)


def _judged(quality: Path, clips: pd.DataFrame, manifest: Path) -> pd.DataFrame:
    """The rows of quality.csv, by clip, in the manifest's order."""
    judged = read_quality(quality).set_index("clip_id")
    kept = judged[judged["use"] != "excluded"]
    found, wanted = Counter(kept.index), Counter(clips["clip_id"])
    odd = [clip for clip in found | wanted if not found[clip] == wanted[clip] == 1]
    if odd:
        raise UserError(
            f"{quality}: not one row for each clip of {manifest} ({len(odd)} are in one alone, or twice, such as "
            f"{min(odd)!r}); {ANEW}"
        )
    return kept.loc[clips["clip_id"]]


def _check_bad_fraction(judged: pd.DataFrame, quality: Path, settings: AssembleSettings) -> None:
    for stage in (name for name in STAGES if name in judged):
        failed = judged[judged[stage] == Status.failed.name]
        if len(failed) > settings.max_bad_fraction * len(judged):
            raise UserError(
                f"{quality}: the stage {stage} failed on {len(failed)} of {len(judged)} clips, more than "
                f"assemble.max_bad_fraction = {settings.max_bad_fraction:g} allows; the first: "
                f"{failed['message'].iloc[0]}"
            )
    bad = judged[judged["use"] == "unusable"]
    fraction = len(bad) / len(judged)
    if fraction > settings.max_bad_fraction:
        stage = "segment" if "segment" in bad else "use"
        causes = ", ".join(f"{n} {cause}" for cause, n in bad[stage].value_counts().items())
        examples = "\n".join(f"  {row.Index}: {row.message}" for row in bad.head(5).itertuples())
        raise UserError(
            f"{quality}: {len(bad)} of {len(judged)} clips are unusable ({causes}), {100 * fraction:.1f} %, "
            f"more than assemble.max_bad_fraction = {settings.max_bad_fraction:g} allows. The first of them:\n"
            f"{examples}\nMend or remove these clips, or raise the limit; finished features are kept."
        )


def _attributes(
    name: str, dataset: Dataset, extraction: Extraction | None, settings: AssembleSettings, unusable: dict[str, int]
) -> dict[str, str | float]:
    """Of dataset.h5: what the corpus asks, how its features came to be, and what its readers clip and count."""
    described = dataset.model_dump(mode="json", include={"task", "preamble", "prompt", "language"})
    described["extraction"] = extraction and extraction.model_dump(mode="json")
    return {
        "format_version": FORMAT_VERSION,
        "name": name,
        "description": json.dumps(described),
        "clip_sd": settings.clip_sd,
        "unusable": json.dumps(unusable),
    }


def _check_splits(clips: pd.DataFrame, manifest: Path) -> None:
    odd = clips[~clips["split"].isin(SPLITS)]
    if len(odd):
        raise UserError(
            f"{manifest}: the clip {odd['clip_id'].iloc[0]!r} is in the split {odd['split'].iloc[0]!r}, expected one "
            f"of {', '.join(SPLITS)}; {ANEW}"
        )
    for split in SPLITS:
        if not (clips["split"] == split).any():
            raise UserError(f"{manifest}: no usable clip in the split {split!r}; training needs all three splits")


def group_of(name: str) -> str:
    """A set's group in dataset.h5: MODALITY/NAME; a modality with one nameless set has it under its own name."""
    modality, _, within = name.partition("/")
    return f"{modality}/{within or modality}"


def _index(
    corpus: str, clips: pd.DataFrame, judged: pd.DataFrame, paths: Sequence[Path], out: Path, name: str
) -> FeatureSet:
    """Find each clip in the shards and sum up the train split's statistics; what quality.csv calls unfit is absent."""
    modality = name.partition("/")[0]
    left_out = set(judged.index[unfit(judged, modality)])
    place: dict[str, tuple[int, int, bool]] = {}
    in_train = set(clips["clip_id"][clips["split"] == "train"])
    statistics = Statistics()
    digest, names, rate_hz = "", [], 0.0
    digests: list[str] = []
    for number, path in enumerate(paths):
        with Shard(path) as shard:
            made = shard.description
            shard.require(modality, corpus)
            digests.append(shard.digest)
            if digest and made.settings_digest != digest:
                raise UserError(f"{path}: made with other settings than {paths[0]}; delete it and run again")
            digest, names, rate_hz = made.settings_digest, made.feature_names, made.rate_hz
            for row, clip in enumerate(shard):
                if clip.clip_id in place:
                    other = paths[place[clip.clip_id][0]]
                    raise UserError(f"{path}: the clip {clip.clip_id!r} is in {other} too; {ANEW}")
                present = clip.status.usable and bool(clip.valid.any()) and clip.clip_id not in left_out
                place[clip.clip_id] = (number, row, present)
                if present and clip.clip_id in in_train:
                    statistics.add(clip.values)
    missing = [clip for clip in clips["clip_id"] if clip not in place]
    if missing:
        raise UserError(f"no shard of {name} holds the clip {missing[0]!r} ({len(missing)} in all); run again")
    mean, deviation = statistics.result(len(names))
    relative = [os.path.relpath(path, out.parent) for path in paths]
    places = np.array([place[clip] for clip in clips["clip_id"]], np.int64)  # (N, 3)
    where = places[:, 0], places[:, 1], places[:, 2] > 0
    return FeatureSet(relative, digests, *where, mean, deviation, names, rate_hz, digest)


class Statistics:
    """Mean and standard deviation of each feature over frames, leaving out what was not measured."""

    def __init__(self) -> None:
        self._count: Any = 0
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count frames of shape (T, D) in."""
        measured = np.isfinite(values)
        known = np.where(measured, values, 0).astype(np.float64)
        self._count = self._count + measured.sum(axis=0)
        self._sum = self._sum + known.sum(axis=0)
        self._squares = self._squares + (known**2).sum(axis=0)

    def result(self, width: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and deviation, each (width,); a feature that does not vary gets the deviation 1."""
        count = np.maximum(np.broadcast_to(self._count, width), 1)
        mean = self._sum / count
        variance = np.maximum(self._squares / count - mean**2, 0)
        steady = variance <= 1e-10 * np.maximum(mean**2, 1e-10)
        deviation = np.where(steady, 1.0, np.sqrt(variance))
        return np.broadcast_to(mean, width).astype(np.float32), deviation.astype(np.float32)


def _write_set(group: h5py.Group, index: FeatureSet) -> None:
    for name in ("shards", "shard_digests"):
        hdf5.write_texts(group, name, getattr(index, name))
    for name in ("shard", "row", "present", "mean", "deviation"):
        group.create_dataset(name, data=getattr(index, name))
    made: dict[str, str | float] = {
        "feature_names": json.dumps(index.feature_names),
        "settings_digest": index.settings_digest,
    }
    hdf5.write_attributes(group, made | {"rate_hz": index.rate_hz})

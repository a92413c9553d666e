"""Clips of new recordings, as an adapter reads them."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mse.assemble import MODALITIES
from mse.clock import side_by_side
from mse.corpus import read_manifest
from mse.data import Example, Normaliser
from mse.errors import UserError
from mse.new_recordings import shard_paths
from mse.pipeline import FeatureSet, Pipeline
from mse.quality import read_quality, unfit
from mse.store import Shard

FAR_SD = 3.0


class NewClips:
    """Clips without labels: texts, features as the adapter reads them, and what became of each clip.

    Args:
        folder: where `extract` has put them.
        pipeline: what the adapter must be given.

    Attributes:
        rows: of quality.csv, in the manifest's order.
        far: by modality, the share of each clip's features whose mean is more than FAR_SD of the training frames'
            deviations from theirs: 0 to 0.1 for clips of the same kind, more for what an adapter has never met.
    """

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.preamble, self.prompt = pipeline.preamble, pipeline.prompt
        self.windows = read_manifest(folder / "manifest.csv")
        quality = read_quality(folder / "quality.csv").set_index("clip_id")
        self.rows = quality.loc[self.windows["clip_id"]]
        self.clip_ids: list[str] = self.windows["clip_id"].tolist()
        heard = self.rows["asr_text"] if pipeline.reads_text and "asr_text" in self.rows else None
        self.texts: list[str] = (
            [""] * len(self) if heard is None else heard.where(~unfit(self.rows, "text"), "").tolist()
        )
        self._normal = {modality: pipeline.normaliser(modality) for modality in MODALITIES}
        self.far = {modality: [0.0] * len(self) for modality in MODALITIES}
        self._values = {modality: self._read(folder, pipeline, modality) for modality in MODALITIES}

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getitem__(self, index: int) -> Example:
        return Example(
            self.clip_ids[index],
            self.texts[index],
            float("nan"),
            *(self._normal[modality](self._values[modality][index]) for modality in MODALITIES),
        )

    def _read(self, folder: Path, pipeline: Pipeline, modality: str) -> list[npt.NDArray[np.float32]]:
        """The features of each clip as measured, (T, D), T = 0 for a clip without any."""
        sets = pipeline.sets(modality)
        width = sum(len(each.mean) for each in sets)
        nothing = np.zeros((0, width), np.float32)
        if not sets:
            return [nothing] * len(self)
        left_out = unfit(self.rows, modality).to_numpy()
        parts = [
            _of_shard(path, each) for path, each in zip(shard_paths(folder, pipeline, modality), sets, strict=True)
        ]
        clips = []
        for index, out in enumerate(left_out):
            found = [part[index] for part in parts]
            if out or not any(map(len, found)):
                clips.append(nothing)
            else:
                clips.append(side_by_side(found, [e.rate_hz or math.nan for e in sets]) if len(found) > 1 else found[0])
        self.far[modality] = [_far(values, self._normal[modality]) for values in clips]
        return clips


def _far(values: npt.NDArray[np.float32], normal: Normaliser) -> float:
    if normal.mean is None or normal.deviation is None or not len(values):
        return 0.0
    measured = ~np.isnan(values).all(axis=0)
    means = np.nanmean(values[:, measured], axis=0)
    away_sd = np.abs(means - normal.mean[measured]) / normal.deviation[measured]
    return round(float((away_sd > FAR_SD).sum() / values.shape[1]), 3)


def _of_shard(path: Path, made: FeatureSet) -> list[npt.NDArray[np.float32]]:
    with Shard(path) as shard:
        if shard.description.settings_digest != made.settings_digest:
            raise UserError(
                f"{path}: extracted otherwise than the adapter's training clips: other weights of a speech model, or "
                "another version of mse; train anew, or use the version that made the adapter"
            )
        empty = np.zeros((0, len(made.mean)), np.float32)
        return [clip.values.astype(np.float32) if clip.status.usable and clip.valid.any() else empty for clip in shard]

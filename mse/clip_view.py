"""What the workflow has made of one clip, to be looked at; landmarks are not stored, so they are found again."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mse import audio
from mse.config import FacialSettings, parse
from mse.corpus import read_manifest
from mse.errors import UserError
from mse.features.faces import Face
from mse.quality import LOST, read_quality
from mse.segment import Facts, read_facts
from mse.store import Clip, Shard, Status
from mse.transcribe import read_transcripts
from mse.video import VideoReader

LACKS = "lacks the clip {!r}, which the manifest has; run the workflow to make it anew"
FEWEST, MOST, PICTURE_S = 6, 8, 7.5  # pictures: how many, and for how many seconds one may stand


@dataclass(frozen=True)
class Frames:
    """One set of features of a clip.

    Attributes:
        made_by: the extractor.
        names: of the features.
        times_s: of the frames' middles from the clip's start, shape (T,).
        values: shape (T, D), NaN where they are not valid.
    """

    made_by: str
    names: list[str]
    rate_hz: float
    times_s: npt.NDArray[np.float64]
    values: npt.NDArray[np.float32]

    def of(self, name: str) -> npt.NDArray[np.float32]:
        """One feature, shape (T,)."""
        return self.values[:, self.names.index(name)]


@dataclass(frozen=True)
class Look:
    """One picture, and its faces.

    Attributes:
        time_s: from the clip's start.
        slot_s: start and end of the part of the clip that it stands for.
        faces: each with the confidence that it speaks (NaN: unknown) and whether it is described.
    """

    time_s: float
    slot_s: tuple[float, float]
    picture: npt.NDArray[np.uint8]
    faces: list[tuple[Face, float, bool]]


@dataclass(frozen=True)
class ClipView:
    """All that is drawn of a clip.

    Attributes:
        row: of manifest.csv.
        duration_s: of the window that was used.
        samples: its sound, shape (N,), 16 kHz; N = 0 without any.
        heard: the text that was recognised.
        words: of it, each with text, start_s, end_s and probability; none where speech was not recognised.
        acoustic: sets of descriptors by name.
        facial: features of the face, None where the corpus has none.
        looks: some pictures.
        quality: row of quality.csv, empty where it is not made yet.
    """

    corpus: str
    row: Mapping[str, Any]
    duration_s: float
    samples: npt.NDArray[np.int16]
    heard: str
    words: list[dict[str, Any]]
    acoustic: dict[str, Frames]
    facial: Frames | None
    looks: list[Look]
    quality: Mapping[str, Any]


def read_clip(clip_id: str, corpus: str, folder: Path, model: Path) -> ClipView:
    """Gather what the workflow has made of a clip; what it has not made is left out.

    Args:
        clip_id: of the manifest.
        corpus: the corpus's name.
        folder: work/CORPUS.
        model: face_landmarker.task.

    Raises:
        UserError: there is no such clip, its recording can't be shown, or what was made is damaged.
    """
    row = _manifest_row(folder / "manifest.csv", clip_id)
    shard = row["shard"]
    facts = _facts(folder / "segments" / f"{shard}.csv", clip_id)
    if Status[facts.status] in LOST:
        raise UserError(f"clip {clip_id!r} can't be shown: {facts.message}")
    path, start_s, end_s = Path(row["media"]), facts.start_s, facts.end_s
    samples = _sound(folder / "segments" / f"{shard}.h5", facts)
    acoustic = {}
    for found in sorted((folder / "features" / "acoustic").glob(f"*/{shard}.h5")):
        frames, _, _ = _frames(found, clip_id, middle=0.5)  # a frame is the mean of what begins within it
        acoustic[found.parent.name] = frames
    facial, looks = None, []
    if (found := folder / "features" / "facial" / f"{shard}.h5").is_file():
        frames, clip, settings = _frames(found, clip_id, middle=0.0)  # a frame is the picture nearest to its time
        if clip.status.usable or clip.status is Status.nothing_found:
            facial = frames
            looks = _look(path, start_s, end_s, samples, parse(FacialSettings, settings, str(found)), model)
    said, quality = {}, {}
    if (found := folder / "transcripts" / f"{shard}.csv").is_file():
        said = _row(read_transcripts(found), clip_id, found)
    if (found := folder / "quality.csv").is_file():
        quality = _row(read_quality(found), clip_id, found)
    words = json.loads(said.get("words") or "[]")
    return ClipView(
        corpus, row, end_s - start_s, samples, said.get("text", ""), words, acoustic, facial, looks, quality
    )


def clip_files(clip_id: str, folder: Path) -> tuple[list[Path], Path]:
    """The files that `read_clip` reads of what the workflow has made, and the clip's recording.

    Args:
        clip_id: of the manifest.
        folder: work/CORPUS.

    Raises:
        UserError: there is no such clip, or its recording can't be shown.
    """
    row = _manifest_row(folder / "manifest.csv", clip_id)
    shard = row["shard"]
    names = [f"segments/{shard}.csv", f"segments/{shard}.h5", f"features/facial/{shard}.h5"]
    names += [f"features/acoustic/*/{shard}.h5", f"transcripts/{shard}.csv", "quality.csv"]
    found = [path for name in names for path in sorted(folder.glob(name))]
    return [folder / "manifest.csv", *found], Path(row["media"])


def _manifest_row(manifest: Path, clip_id: str) -> dict[str, Any]:
    """The manifest's row of a clip whose recording is there."""
    table = read_manifest(manifest)
    known = table["clip_id"].tolist()
    if clip_id not in known:
        near = difflib.get_close_matches(clip_id, known, n=5, cutoff=0.3) or known[:5]
        raise UserError(f"{manifest}: no clip {clip_id!r} among {len(known)}; the nearest: {', '.join(near)}")
    row = _row(table, clip_id, manifest)
    if not row["media"]:
        raise UserError(
            f"{manifest}: clip {clip_id!r} has no recording, so there is nothing to look at; its features were "
            "released by others, or it is text alone"
        )
    if not Path(row["media"]).is_file():
        raise UserError(f"{row['media']}: no such file; clip {clip_id!r} can't be shown without its recording")
    return row


def _facts(path: Path, clip_id: str) -> Facts:
    for row in read_facts(path):
        if row.clip_id == clip_id:
            return row
    raise UserError(f"{path}: {LACKS.format(clip_id)}")


def _row(table: pd.DataFrame, clip_id: str, path: Path) -> dict[str, Any]:
    rows = table[table["clip_id"] == clip_id]
    if rows.empty:
        raise UserError(f"{path}: {LACKS.format(clip_id)}")
    return {str(name): value for name, value in rows.iloc[0].items()}


def _clip(shard: Shard, clip_id: str) -> Clip:
    if clip_id not in shard.clip_ids:
        raise UserError(f"{shard.path}: lacks the clip {clip_id!r}, which the manifest has; run the workflow again")
    return shard[shard.clip_ids.index(clip_id)]


def _sound(stored: Path, facts: Facts) -> npt.NDArray[np.int16]:
    """The audio that features were made from; it is decoded again where the stored one was deleted to save space."""
    if stored.is_file():
        with Shard(stored) as shard:
            return _clip(shard, facts.clip_id).values[:, 0]
    if np.isnan(facts.audio_track):
        return np.zeros(0, np.int16)
    return audio.read_audio(Path(facts.media), facts.start_s, facts.end_s, int(facts.audio_track))


def _frames(path: Path, clip_id: str, middle: float) -> tuple[Frames, Clip, Mapping[str, Any]]:
    """A clip's features, its entry in the shard, and the settings; `middle`: of a frame, in frames from its start."""
    with Shard(path) as shard:
        clip, of = _clip(shard, clip_id), shard.description
    values = np.where(clip.valid[:, None], clip.values, np.float32(np.nan))
    times_s = (np.arange(len(values), dtype=np.float64) + middle) / of.rate_hz
    if len(values) == 1:  # of the whole clip, whatever its nominal rate
        times_s = np.zeros(1)
    return Frames(of.extractor, of.feature_names, of.rate_hz, times_s, values), clip, of.settings


def _look(
    path: Path,
    start_s: float,
    end_s: float,
    samples: npt.NDArray[np.int16],
    settings: FacialSettings,
    model: Path,
) -> list[Look]:
    """Look at a clip's pictures again, and keep some at even times; fewer where the pictures end early."""
    from mse.features.facial import FacialExtractor

    length_s = end_s - start_s
    count = min(max(FEWEST, round(length_s / PICTURE_S)), MOST, max(1, int(length_s * settings.rate_hz)))
    slot_s = length_s / count
    # The picture nearest to the middle of each slot; of two equally near the earlier, so that none is taken twice.
    wanted = {math.ceil((slot + 0.5) * slot_s * settings.rate_hz - 0.5): slot for slot in range(count)}
    kept = {}

    def pictures() -> Iterator[npt.NDArray[np.uint8]]:
        with VideoReader(path, settings.rate_hz, settings.max_side_px) as reader:
            for number, picture in enumerate(reader.frames(start_s, end_s)):
                if number in wanted:
                    kept[number] = picture
                yield picture

    with FacialExtractor(settings, model) as extractor:
        seen = extractor.look(pictures(), samples)
    described = seen.chosen.faces if seen.chosen else {}
    faces = {number: [(t.faces[number], t.speaking) for t in seen.tracks if number in t.faces] for number in kept}
    return [
        Look(
            number / settings.rate_hz,
            (wanted[number] * slot_s, (wanted[number] + 1) * slot_s),
            picture,
            [(face, speaking, face is described.get(number)) for face, speaking in faces[number]],
        )
        for number, picture in kept.items()
    ]

"""Run an extractor over the clips of one shard.

A clip that can't be described becomes a row with a status and a message; it never stops its shard.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mse import media
from mse.atomic import replacing
from mse.config import AcousticSettings, FacialSettings, TranscribeSettings
from mse.progress import track
from mse.segment import END_TOLERANCE_S, read_facts
from mse.store import Clip, Description, Shard, Status, versions, write_shard
from mse.tables import read_table


def acoustic_shard(segments: Path, out: Path, settings: AcousticSettings) -> None:
    """Describe the sound of a shard's clips with openSMILE.

    Args:
        segments: shard file of PCM, as `segment` writes it.
        out: shard file of descriptors.
        settings: feature set and rate.
    """
    from mse.features.acoustic import AcousticExtractor

    extract = AcousticExtractor(settings)

    def describe(clip: Clip) -> Clip:
        values, valid = extract(clip.values[:, 0])
        return _described(clip.clip_id, values, valid, clip.status, clip.message, "openSMILE gave no frame")

    with Shard(segments) as shard:
        description = Description(
            shard.description.dataset,
            f"opensmile-{settings.feature_set}",
            extract.feature_names,
            extract.rate_hz,
            settings=settings.model_dump(),
            versions=versions("opensmile"),
        )
        clips = (
            describe(clip) if clip.status.usable else _empty(clip.clip_id, clip.status, clip.message, description)
            for clip in shard
        )
        write_shard(out, description, track(clips, f"acoustic {segments.stem}", len(shard)))


def facial_shard(facts: Path, out: Path, dataset: str, settings: FacialSettings, model: Path) -> None:
    """Describe the face in a shard's clips, read from the recordings themselves.

    Args:
        facts: CSV of clips with the window to use, as `segment` writes it.
        out: shard file of facial features.
        dataset: the corpus's name, for the record.
        settings: rate and thresholds.
        model: face_landmarker.task.
    """
    from mse.features.facial import FacialExtractor

    extract = FacialExtractor(settings, model)
    clips = read_facts(facts)
    description = Description(
        dataset,
        "mediapipe-face",
        extract.feature_names,
        extract.rate_hz,
        settings=settings.model_dump(),
        versions=versions("mediapipe"),
    )

    def describe(row: Any) -> Clip:
        status = Status[row.status]
        if status not in (Status.ok, Status.cut, Status.no_stream):
            return _empty(row.clip_id, status, row.message, description)
        if not row.has_video:
            return _empty(row.clip_id, Status.no_stream, f"{row.media}: no picture in this file", description)
        frames = media.iter_frames(Path(row.media), settings.rate_hz, row.start_s, row.end_s, settings.max_side_px)
        try:
            values, valid = extract(frames)
        except media.MediaError as e:
            return _empty(row.clip_id, Status.unreadable, str(e), description)
        if len(values) and not valid.any():
            nothing = f"{row.media}: no face in any of {len(values)} pictures"
            return Clip(row.clip_id, values, valid, Status.nothing_found, nothing)
        expected = round((row.end_s - row.start_s) * settings.rate_hz)
        short = len(values) < expected - settings.rate_hz * END_TOLERANCE_S - 1
        message = f"{row.media}: {len(values)} of {expected} pictures could be decoded" if short else ""
        kept = Status.cut if short else Status.ok
        return _described(row.clip_id, values, valid, kept, message, f"{row.media}: no picture in this clip")

    clips_done = (describe(row) for row in clips.itertuples())
    write_shard(out, description, track(clips_done, f"facial {facts.stem}", len(clips)))


def transcribe_shard(
    segments: Path, out: Path, language: str, settings: TranscribeSettings, model: Path, threads: int = 1
) -> None:
    """Recognise the words of a shard's clips.

    Args:
        segments: shard file of PCM, as `segment_shard` writes it.
        out: CSV with one row a clip: status, message, text, confidence, and the words with their times as JSON.
        language: ISO 639-1 code of what is spoken.
        settings: beam and arithmetic.
        model: folder of a Whisper model for CTranslate2.
        threads: CPU threads.
    """
    from mse.features.speech import Recogniser

    recognise = Recogniser(settings, model, language, threads)
    rows = []
    with Shard(segments) as shard:
        for clip in track(shard, f"transcribe {segments.stem}", len(shard)):
            row: dict[str, Any] = {
                "clip_id": clip.clip_id,
                "status": clip.status.name,
                "message": clip.message,
                "text": "",
            }
            if clip.status.usable:
                said = recognise(clip.values[:, 0])
                words = [asdict(word) for word in said.words]
                row |= {
                    "text": said.text,
                    "confidence": round(said.confidence, 4),
                    "words": json.dumps(words),
                }
                if not said.text:
                    row |= {"status": Status.nothing_found.name, "message": "no words were recognised"}
            rows.append(row)
    with replacing(out) as partial:
        columns = ["clip_id", "status", "message", "text", "confidence", "words"]
        pd.DataFrame(rows, columns=columns).to_csv(partial, index=False)


def read_transcripts(path: Path) -> pd.DataFrame:
    """Read the table that `transcribe_shard` writes."""
    texts = ("clip_id", "status", "message", "text", "words")
    return read_table(path, texts, ("confidence",), "mse transcribe")


def _described(
    clip_id: str,
    values: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    status: Status,
    message: str,
    if_empty: str,
) -> Clip:
    """A clip with features, or a failed one where the extractor gave no frame."""
    if not len(values):
        status, message = Status.failed, if_empty
    return Clip(clip_id, values, valid, status, message)


def _empty(clip_id: str, status: Status, message: str, description: Description) -> Clip:
    width = len(description.feature_names)
    return Clip(clip_id, np.zeros((0, width), description.dtype), np.zeros(0, bool), status, message)

"""Cut the sound of clips out of their recordings, and say what each recording holds.

A clip that can't be used becomes a row with a status and a message; it never stops its shard.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mse import media
from mse.atomic import replacing
from mse.config import SegmentSettings
from mse.loudness import Samples, clipping, loudness_dbfs, snr_db
from mse.progress import track
from mse.store import Clip, Description, Status, versions, write_shard
from mse.tables import read_table

END_TOLERANCE_S = 0.1  # containers round their duration; a clip may end this much later unremarked
SOUND_MEASURES = "loudness_dbfs", "clipping", "snr_db"  # columns of the facts (mse.loudness)
NO_SOUND: Samples = np.zeros(0, np.int16)


def segment_shard(clips: pd.DataFrame, out: Path, facts: Path, dataset: str, settings: SegmentSettings) -> None:
    """Cut the sound of a shard's clips out of their recordings.

    Args:
        clips: rows of the manifest (clip_id, media, start_s, end_s).
        out: shard file of mono PCM at 16 kHz.
        facts: CSV with one row a clip: the window really used, what the file holds, status and message.
        dataset: the corpus's name, for the record.
        settings: limits of a clip's length.
    """
    rows: list[dict[str, Any]] = []

    def cut() -> Iterator[Clip]:
        for path, same in clips.groupby("media", sort=False):
            for clip, row in _cut_recording(Path(str(path)), same, settings):
                rows.append(row)
                yield clip

    description = Description(
        dataset,
        "pcm",
        ["sample"],
        media.SAMPLE_RATE_HZ,
        "int16",
        settings.model_dump(),
        versions("ffmpeg-python"),
    )
    write_shard(out, description, track(cut(), f"segment {out.stem}", len(clips)))
    with replacing(facts) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)


def _cut_recording(path: Path, clips: pd.DataFrame, settings: SegmentSettings) -> Iterator[tuple[Clip, dict[str, Any]]]:
    """The clips of one recording, whose sound is decoded once."""
    try:
        info = media.probe(path)
    except media.MediaError as e:
        status = Status.unreadable if os.path.isfile(path) else Status.missing
        for row in clips.itertuples():
            yield _unusable(row, status, str(e))
        return
    cuts = [(row, *_window(row, info, path, settings)) for row in clips.itertuples()]
    usable = [(start_s, end_s) for _, start_s, end_s, status, _ in cuts if status.usable]
    if usable != sorted(usable, key=lambda window: window[0]):  # the sound is read once, from front to back
        cuts.sort(key=lambda cut: cut[1])
    origin_s = min((start_s for start_s, _ in usable), default=0.0)
    latest_s = max((end_s for _, end_s in usable), default=0.0)
    with contextlib.closing(media.iter_audio(path, origin_s, latest_s)) as blocks:
        sound = _Sound(path, blocks if info.has_audio else iter(()), origin_s)
        for row, start_s, end_s, status, message in cuts:
            if not status.usable:
                yield _unusable(row, status, message)
                continue
            samples = sound.window(start_s, end_s)
            length_s = len(samples) / media.SAMPLE_RATE_HZ
            if not len(samples):
                status, message = Status.no_stream, sound.failure
            elif length_s < end_s - start_s - END_TOLERANCE_S:
                status = Status.cut
                message = f"{path}: sound for {length_s:.2f} of the clip's {end_s - start_s:.2f} s"
            facts = {
                "clip_id": row.clip_id,
                "media": row.media,
                "start_s": start_s,
                "end_s": end_s,
                "status": status.name,
                "message": message,
                "duration_s": round(end_s - start_s, 3),
                "has_video": info.has_video,
                **_measures(samples),
            }
            yield _pcm(row.clip_id, samples, status, message), facts


class _Sound:
    """Windows of a recording's sound with rising starts; no more is in memory than the longest, and a block.

    Args:
        path: the recording, for messages.
        blocks: its sound from the origin on, as `media.iter_audio` gives it.
        origin_s: where the first block begins (seconds from the file's start).

    Attributes:
        failure: why a window is empty.
    """

    def __init__(self, path: Path, blocks: Iterator[Samples], origin_s: float) -> None:
        self.failure = f"{path}: no sound in this clip"
        self._blocks, self._origin_s = blocks, origin_s
        self._kept: list[Samples] = []
        self._first = self._end = 0  # `_kept` holds samples [_first, _end), counted from the origin

    def window(self, start_s: float, end_s: float) -> Samples:
        """Samples of [start_s, end_s), fewer where the sound ends; what lies before is forgotten."""
        begin, end = (round((time_s - self._origin_s) * media.SAMPLE_RATE_HZ) for time_s in (start_s, end_s))
        while self._end < end and (block := self._read()) is not None:
            self._kept.append(block)
            self._end += len(block)
            self._forget(begin)
        self._forget(begin)
        kept = np.concatenate(self._kept) if self._kept else NO_SOUND
        return kept[begin - self._first : end - self._first]

    def _forget(self, begin: int) -> None:
        while self._kept and self._first + len(self._kept[0]) <= begin:
            self._first += len(self._kept.pop(0))

    def _read(self) -> Samples | None:
        try:
            return next(self._blocks, None)
        except media.MediaError as e:
            self.failure = str(e)
            return None


def _window(row: Any, info: media.MediaInfo, path: Path, settings: SegmentSettings) -> tuple[float, float, Status, str]:
    """Start and end (seconds) of what can be used of a clip, and whether that is enough."""
    start_s = 0.0 if np.isnan(row.start_s) else row.start_s
    length_s = info.duration_s
    end_s = length_s if np.isnan(row.end_s) else row.end_s
    if start_s >= length_s:
        return (
            start_s,
            end_s,
            Status.out_of_range,
            f"{path}: clip starts at {start_s:g} s, file ends at {length_s:g} s",
        )
    status, message = Status.ok, ""
    if end_s > length_s + END_TOLERANCE_S:
        status = Status.cut
        message = f"{path}: clip ends at {end_s:g} s, file at {length_s:g} s; what is there was used"
    end_s = min(end_s, length_s)
    if end_s - start_s > settings.max_s:
        status = Status.cut
        message = f"{path}: clip lasts {end_s - start_s:.1f} s, cut to {settings.max_s:g} s (segment.max_s)"
        end_s = start_s + settings.max_s
    if end_s - start_s < settings.min_s:
        status = Status.too_short
        message = f"{path}: clip lasts {end_s - start_s:.2f} s, less than {settings.min_s:g} s (segment.min_s)"
    return start_s, end_s, status, message


def _unusable(row: Any, status: Status, message: str) -> tuple[Clip, dict[str, Any]]:
    facts = {name: getattr(row, name) for name in ("clip_id", "media", "start_s", "end_s")}
    facts |= {"status": status.name, "message": message, "duration_s": 0.0, "has_video": False}
    facts |= _measures(NO_SOUND)
    return _pcm(row.clip_id, NO_SOUND, status, message), facts


def _measures(samples: Samples) -> dict[str, float]:
    return dict(zip(SOUND_MEASURES, (loudness_dbfs(samples), clipping(samples), snr_db(samples)), strict=True))


def _pcm(clip_id: str, samples: Samples, status: Status, message: str) -> Clip:
    return Clip(clip_id, samples[:, None], np.ones(len(samples), bool), status, message)


def read_facts(path: Path) -> pd.DataFrame:
    """Read the table that `segment_shard` writes; an unknown time is NaN."""
    texts = ("clip_id", "media", "status", "message")
    return read_table(path, texts, ("start_s", "end_s", "duration_s", *SOUND_MEASURES), "mse segment")

"""Cut the sound of clips out of their recordings, and say what each recording holds.

A clip that can't be used becomes a row with a status and a message; it never stops its shard.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mse import media
from mse.audio import AudioReader
from mse.config import SegmentSettings
from mse.loudness import Samples, clipping, loudness_dbfs, snr_db
from mse.progress import track
from mse.rows import Window, read_rows, write_rows
from mse.store import Clip, Description, Status, require_status, versions, write_shard

ROUNDING_S = 1e-6  # a sixtieth of a sample: times such as 1.3 and 1.8 are not 0.5 apart to the last bit
NO_SOUND: Samples = np.zeros(0, np.int16)


class Facts(NamedTuple):
    """What a clip's recording holds.

    Attributes:
        clip_id, media: as in the manifest.
        start_s, end_s: the window that can be used (seconds); NaN where it is not known.
        status: name of a Status.
        message: what is wrong, if anything.
        duration_s: length of the window, 0 where nothing can be used.
        has_video: whether the recording has a picture.
        loudness_dbfs, clipping, snr_db: of the sound (mse.loudness), NaN without any.
        audio_track: which audio track was used, from 1; NaN without any.
    """

    clip_id: str
    media: str
    start_s: float
    end_s: float
    status: str
    message: str
    duration_s: float
    has_video: bool
    loudness_dbfs: float
    clipping: float
    snr_db: float
    audio_track: float


def segment_shard(clips: Sequence[Window], out: Path, facts: Path, dataset: str, settings: SegmentSettings) -> None:
    """Cut the sound of a shard's clips out of their recordings.

    Args:
        clips: where each lies.
        out: shard file of mono PCM at 16 kHz.
        facts: CSV of Facts, one row a clip.
        dataset: the corpus's name, for the record.
        settings: limits of a clip's length.
    """
    rows: list[Facts] = []
    recordings: dict[str, list[Window]] = {}
    for window in clips:
        recordings.setdefault(window.media, []).append(window)

    def cut() -> Iterator[Clip]:
        for path, same in recordings.items():
            for clip, row in _cut_recording(Path(path), same, settings):
                rows.append(row)
                yield clip

    description = Description(
        dataset,
        "sound",
        "pcm",
        ["sample"],
        media.SAMPLE_RATE_HZ,
        "int16",
        settings.model_dump(),
        versions("ffmpeg-python"),
    )
    write_shard(out, description, track(cut(), f"segment {out.stem}", len(clips)))
    write_rows(facts, rows, Facts)


def _cut_recording(path: Path, clips: Sequence[Window], settings: SegmentSettings) -> Iterator[tuple[Clip, Facts]]:
    """The clips of one recording, whose sound is decoded once."""
    try:
        info = media.probe(path)
    except media.MediaError as e:
        status = Status.missing if isinstance(e, media.MissingError) else Status.unreadable
        for clip in clips:
            yield _unusable(clip, status, str(e))
        return
    if not (info.has_audio or info.has_video):
        for clip in clips:
            yield _unusable(clip, Status.unreadable, f"{path}: neither sound nor pictures in this file")
        return
    cuts = [(clip, *_window(clip, info, path, settings)) for clip in clips]
    usable = [(start_s, end_s) for _, start_s, end_s, status, _ in cuts if status.usable]
    if usable != sorted(usable, key=lambda window: window[0]):  # the sound is read once, from front to back
        cuts.sort(key=lambda cut: cut[1])
    origin_s = min((start_s for start_s, _ in usable), default=0.0)
    latest_s = max((end_s for _, end_s in usable), default=0.0)
    reader = AudioReader(path, settings.audio_track)
    with contextlib.closing(reader.blocks(origin_s, latest_s)) as blocks:
        sound = SoundWindows(blocks if info.has_audio else iter(()), origin_s)
        for clip, start_s, end_s, status, message in cuts:
            if not status.usable:
                yield _unusable(clip, status, message)
                continue
            samples = sound.window(start_s, end_s)
            length_s = len(samples) / media.SAMPLE_RATE_HZ
            remarks = [message, media.describe_tracks(path, info, settings.audio_track), reader.note]
            if not len(samples):
                status, remarks = Status.no_stream, [sound.failure or f"{path}: no sound in this clip"]
            elif not samples.any():  # a microphone that was off says nothing of a voice
                status = Status.nothing_found
                remarks = [f"{path}: only silence, all {len(samples)} samples are 0", *remarks[1:]]
                samples = NO_SOUND
            elif length_s < end_s - start_s - media.END_TOLERANCE_S:
                status = Status.cut
                remarks += [f"{path}: sound for {length_s:.2f} of the clip's {end_s - start_s:.2f} s", sound.failure]
            message = "; ".join(filter(None, remarks))
            used = clip._replace(start_s=start_s, end_s=end_s)
            track = float(settings.audio_track or info.audio_track or "nan")
            facts = _facts(used, end_s - start_s, status, message, samples, info.has_video, track)
            yield _pcm(clip.clip_id, samples, status, message), facts


class SoundWindows:
    """Windows of a recording's sound with rising starts; no more is in memory than the longest, and a block.

    Args:
        blocks: its sound from the origin on, as `AudioReader.blocks` gives it.
        origin_s: where the first block begins (seconds from the file's start).

    Attributes:
        failure: why the sound ended, where it is not the recording's end.
    """

    def __init__(self, blocks: Iterator[Samples], origin_s: float) -> None:
        self.failure = ""
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


def _window(
    clip: Window, info: media.MediaInfo, path: Path, settings: SegmentSettings
) -> tuple[float, float, Status, str]:
    """Start and end (seconds) of what can be used of a clip, and whether that is enough."""
    start_s = 0.0 if np.isnan(clip.start_s) else clip.start_s
    length_s = info.duration_s
    end_s = length_s if np.isnan(clip.end_s) else clip.end_s
    if start_s >= length_s:
        return (
            start_s,
            end_s,
            Status.out_of_range,
            f"{path}: clip starts at {start_s:g} s, file ends at {length_s:g} s",
        )
    status, message = (Status.cut, info.note) if info.note else (Status.ok, "")
    if end_s > length_s + media.END_TOLERANCE_S:
        status = Status.cut
        message = f"{path}: clip ends at {end_s:g} s, file at {length_s:g} s; what is there was used"
    end_s = min(end_s, length_s)
    if end_s - start_s > settings.max_s + ROUNDING_S:
        status = Status.cut
        message = f"{path}: clip lasts {end_s - start_s:.1f} s, cut to {settings.max_s:g} s (segment.max_s)"
        end_s = start_s + settings.max_s
    if end_s - start_s < settings.min_s - ROUNDING_S:
        status = Status.too_short
        message = f"{path}: clip lasts {end_s - start_s:.2f} s, less than {settings.min_s:g} s (segment.min_s)"
    return start_s, end_s, status, message


def _unusable(clip: Window, status: Status, message: str) -> tuple[Clip, Facts]:
    return _pcm(clip.clip_id, NO_SOUND, status, message), _facts(clip, 0.0, status, message, NO_SOUND, False)


def _facts(
    clip: Window,
    duration_s: float,
    status: Status,
    message: str,
    samples: Samples,
    has_video: bool,
    audio_track: float = float("nan"),
) -> Facts:
    return Facts(
        clip.clip_id,
        clip.media,
        clip.start_s,
        clip.end_s,
        status.name,
        message,
        round(duration_s, 3),
        has_video,
        loudness_dbfs(samples),
        clipping(samples),
        snr_db(samples),
        audio_track,
    )


def _pcm(clip_id: str, samples: Samples, status: Status, message: str) -> Clip:
    return Clip(clip_id, samples[:, None], np.ones(len(samples), bool), status, message)


def read_facts(path: Path) -> list[Facts]:
    """Read the table that `segment_shard` writes.

    Raises:
        UserError: the file is missing or no such table, or a clip's status is none.
    """
    rows = read_rows(path, Facts, "mse segment")
    for row in rows:
        require_status(row.status, f"{path}: {row.clip_id}", "mse segment")
    return rows

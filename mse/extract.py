"""Run an extractor over the clips of one shard.

A clip that can't be described becomes a row with a status and a message; it never stops its shard.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mse import media
from mse.config import AcousticSettings, FacialSettings, OpenSmileSettings
from mse.errors import UserError, describe_error
from mse.progress import track
from mse.segment import Facts, read_facts
from mse.store import Clip, Description, Shard, Status, refuse_all_failed, versions, write_shard
from mse.video import VideoReader

Described = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]  # values (T, D), valid (T,)
GROUP_S = 600.0  # sound of clips that are handed to an extractor together (seconds)


def acoustic_shard(
    segments: Path,
    out: Path,
    settings: AcousticSettings,
    model: Path | None = None,
    device: str = "auto",
    threads: int = 1,
) -> None:
    """Describe the sound of a shard's clips with openSMILE or a speech model.

    Args:
        segments: shard file of PCM, as `segment` writes it.
        out: shard file of features.
        settings: of the set.
        model: folder of the speech model, where the set is made by one.
        device: auto, cpu or cuda, for a speech model.
        threads: CPU threads, for a speech model.
    """
    extractor, libraries = _acoustic_extractor(settings, model, device, threads)
    weights = {"weights_digest": extractor.weights_digest} if hasattr(extractor, "weights_digest") else {}
    made_by = settings.feature_set if isinstance(settings, OpenSmileSettings) else settings.model
    with Shard(segments) as shard:
        shard.require("sound")
        description = Description(
            shard.description.dataset,
            "acoustic",
            f"{settings.variant}-{made_by}",
            extractor.feature_names,
            extractor.rate_hz,
            settings=settings.model_dump() | weights,
            versions=versions(*libraries),
        )
        clips = (clip for group in _groups(shard) for clip in _heard(group, extractor, description))
        told = track(clips, f"acoustic {segments.stem}", len(shard))
        write_shard(out, description, not_all_failed(told, str(segments)))


def not_all_failed(clips: Iterable[Clip], where: str) -> Iterator[Clip]:
    """The clips as they come; raises UserError at the end if all failed, before their file gets its name."""
    found = []
    for clip in clips:
        found.append((clip.status, clip.message))
        yield clip
    refuse_all_failed(found, where)


def _acoustic_extractor(
    settings: AcousticSettings, model: Path | None, device: str, threads: int
) -> tuple[Any, tuple[str, ...]]:
    """The extractor of a set, and the libraries that it is made of."""
    if isinstance(settings, OpenSmileSettings):
        from mse.features.acoustic import OpenSmileExtractor

        return OpenSmileExtractor(settings), ("opensmile",)
    from mse.features.speech_model import SpeechModelExtractor

    assert model is not None
    return SpeechModelExtractor(settings, model, device, threads), ("torch", "transformers")


def _groups(shard: Shard) -> Iterator[list[Clip]]:
    """Neighbouring clips with as much sound as is held in memory at once."""
    group: list[Clip] = []
    for clip in shard:
        held_s = sum(len(held.values) for held in group) / media.SAMPLE_RATE_HZ
        if group and held_s + len(clip.values) / media.SAMPLE_RATE_HZ > GROUP_S:
            yield group
            group = []
        group.append(clip)
    yield group


def _heard(group: Sequence[Clip], extractor: Any, description: Description) -> Iterator[Clip]:
    """The clips of a group described; where an extractor takes many at once and fails, each is tried by itself."""
    usable = [clip for clip in group if clip.status.usable]
    together: dict[str, Described] = {}
    if hasattr(extractor, "many"):
        try:
            together = dict(
                zip((c.clip_id for c in usable), extractor.many([c.values[:, 0] for c in usable]), strict=True)
            )
        except Exception:  # of one of them, which will be named
            together = {}
    for clip in group:
        if not clip.status.usable:
            yield _empty(clip.clip_id, clip.status, clip.message, description)
            continue
        yield _one(clip, together.get(clip.clip_id), extractor, description)


def _one(clip: Clip, described: Described | None, extractor: Callable[..., Described], of: Description) -> Clip:
    try:
        values, valid = extractor(clip.values[:, 0]) if described is None else described
    except Exception as e:  # whatever a library stumbles over, the other clips are not to blame
        return _empty(clip.clip_id, Status.failed, f"{of.extractor}: {describe_error(e)}", of)
    return _described(clip.clip_id, values, valid, clip.status, clip.message, f"{of.extractor} gave no frame")


def facial_shard(
    facts: Path, segments: Path, out: Path, dataset: str, settings: FacialSettings, model: Path, threads: int = 1
) -> None:
    """Describe the face in a shard's clips, read from the recordings themselves.

    Args:
        facts: CSV of clips with the window to use, as `segment` writes it.
        segments: shard file of the same clips' PCM, which tells whose mouth moves with the sound.
        out: shard file of facial features.
        dataset: the corpus's name, for the record.
        settings: rate, number of faces and thresholds.
        model: face_landmarker.task.
        threads: CPU threads that decode.
    """
    from mse.features.facial import FacialExtractor

    with FacialExtractor(settings, model) as extractor, Shard(segments) as shard:
        shard.require("sound", dataset)
        clips = read_facts(facts)
        if sorted(row.clip_id for row in clips) != sorted(shard.clip_ids):
            raise UserError(f"{facts}: not of the same clips as {segments}; delete both and run again")
        description = facial_description(dataset, settings, extractor)
        described = describe_faces(clips, shard, settings, extractor, description, threads)
        told = track(described, f"facial {facts.stem}", len(clips))
        write_shard(out, description, not_all_failed(told, str(facts)))


def facial_description(dataset: str, settings: FacialSettings, extractor: Any) -> Description:
    """What a shard of facial features holds.

    Args:
        dataset: the corpus's name.
        settings: of the extractor.
        extractor: a FacialExtractor.
    """
    return Description(
        dataset,
        "facial",
        "mediapipe-face",
        extractor.feature_names,
        extractor.rate_hz,
        settings=settings.model_dump(),
        versions=versions("mediapipe"),
    )


def describe_faces(
    clips: Sequence[Facts],
    sound: Shard,
    settings: FacialSettings,
    extractor: Any,
    description: Description,
    threads: int = 1,
) -> Iterator[Clip]:
    """Describe the face in each of some clips; those of one recording that follow each other decode it once.

    Args:
        clips: with the window to use.
        sound: their PCM, and perhaps that of others.
        settings: rate and size of pictures.
        extractor: a FacialExtractor.
        description: of what it makes.
        threads: CPU threads that decode.
    """
    place = {clip_id: index for index, clip_id in enumerate(sound.clip_ids)}
    for path, rows in groupby(clips, key=lambda row: row.media):
        with ExitStack() as stack:
            reader = None
            for row in rows:
                if (clip := _unseen(row, description)) is None:
                    reader = reader or stack.enter_context(
                        VideoReader(Path(path), settings.rate_hz, settings.max_side_px, threads)
                    )
                    samples = sound[place[row.clip_id]].values[:, 0]
                    clip = _looked_at(row, reader, samples, extractor, description)
                yield clip


def _unseen(row: Facts, description: Description) -> Clip | None:
    """A clip of which nothing can be seen; None where its recording is to be looked at."""
    status = Status[row.status]
    if status not in (Status.ok, Status.cut, Status.no_stream, Status.nothing_found):
        return _empty(row.clip_id, status, row.message, description)
    if not row.has_video:
        return _empty(row.clip_id, Status.no_stream, f"{row.media}: no picture in this file", description)
    return None


def _looked_at(
    row: Facts, reader: Any, samples: npt.NDArray[np.int16], extractor: Any, description: Description
) -> Clip:
    from mse.features.facial import facts_of

    damaged = reader.damaged
    try:
        seen = extractor.look(reader.frames(row.start_s, row.end_s), samples)
        values, valid = extractor.describe(seen)
    except media.MediaError as e:
        return _empty(row.clip_id, Status.unreadable, str(e), description)
    except UserError:  # a piece is missing, for all clips
        raise
    except Exception as e:
        reason = f"{row.media}: {description.extractor}: {describe_error(e)}"
        return _empty(row.clip_id, Status.failed, reason, description)
    if len(values) and not valid.any():
        nothing = f"{row.media}: no face in any of {len(values)} pictures"
        return Clip(row.clip_id, values, valid, Status.nothing_found, nothing, facts_of(seen))
    expected = round((row.end_s - row.start_s) * extractor.rate_hz)
    short = len(values) < expected - extractor.rate_hz * media.END_TOLERANCE_S - 1
    notes = [f"{row.media}: {len(values)} of {expected} pictures could be decoded"] if short else []
    if reader.damaged > damaged:
        notes.append(f"{row.media}: {reader.damaged - damaged} damaged pictures were left out")
    message, kept = "; ".join(notes), Status.cut if notes else Status.ok
    no_frame = f"{row.media}: no picture in this clip"
    return _described(row.clip_id, values, valid, kept, message, no_frame, facts_of(seen))


def _described(
    clip_id: str,
    values: npt.NDArray[np.float32],
    valid: npt.NDArray[np.bool_],
    status: Status,
    message: str,
    if_empty: str,
    facts: Mapping[str, float] | None = None,
) -> Clip:
    """A clip with features, or a failed one where the extractor gave no frame."""
    if not len(values):
        status, message = Status.failed, if_empty
    return Clip(clip_id, values, valid, status, message, facts or {})


def _empty(clip_id: str, status: Status, message: str, description: Description) -> Clip:
    width = len(description.feature_names)
    return Clip(clip_id, np.zeros((0, width), description.dtype), np.zeros(0, bool), status, message)

"""Cut long recordings without known times into utterances: at pauses, and at the ends of recognised sentences.

Speech is found by Silero's voice-activity detector, whose weights faster-whisper carries.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mse import audio, media
from mse.atomic import replacing
from mse.config import Cut, Dataset
from mse.corpus import Corpus, read_excluded, read_manifest, shard_files
from mse.corpus.manifest import deal
from mse.progress import track
from mse.rows import Window
from mse.tables import read_table

FRAME_SAMPLES = 512  # what the detector judges at once: 32 ms
FRAME_S = FRAME_SAMPLES / media.SAMPLE_RATE_HZ
BLOCK_S = 600.0  # sound held in memory at once
SPEECH, SILENCE = 0.5, 0.35  # speech begins above the one probability and ends below the other
SENTENCE_ENDS = tuple(".?!\u2026\u3002\uff1f\uff01")  # the latter three in Chinese

Span = tuple[float, float]  # start and end (seconds)
Words = Sequence[tuple[str, float, float]]  # each word with its start and end (seconds)


def cut_shard(recordings: Sequence[Window], out: Path, settings: Cut, recognise: Callable[..., Any] | None) -> None:
    """Find the utterances of some recordings.

    Args:
        recordings: clips that are whole recordings.
        out: CSV with recording (its clip_id), start_s, end_s and message; a recording without speech, or that
            can't be read, is one row without times that says why.
        settings: where to cut.
        recognise: from samples to a Transcript (mse.features.speech); needed to cut at sentences.
    """
    rows: list[dict[str, Any]] = []
    for row in track(recordings, f"cut {out.stem}", len(recordings), "recordings"):
        spans, message = _cut_recording(Path(row.media), settings, recognise)
        found = [{"recording": row.clip_id, "start_s": round(a, 3), "end_s": round(b, 3)} for a, b in spans]
        rows += found or [{"recording": row.clip_id, "message": message}]
    with replacing(out) as partial:
        pd.DataFrame(rows, columns=["recording", "start_s", "end_s", "message"]).to_csv(partial, index=False)


def read_utterances(path: Path) -> pd.DataFrame:
    """Read the table that `cut_shard` writes."""
    return read_table(
        path, ("recording", "message"), ("start_s", "end_s"), "mse cut", required=("start_s", "end_s", "message")
    )


def _cut_recording(path: Path, settings: Cut, recognise: Callable[..., Any] | None) -> tuple[list[Span], str]:
    """Utterances of a recording, and why there are none."""
    try:
        info = media.probe(path)
        if not info.has_audio:
            return [], f"{path}: no sound to find speech in"
        speech = speech_probability(path, info.duration_s)
    except media.MediaError as e:
        return [], str(e)
    # Padded first: without a moment of silence before it, the first words are misheard.
    spans = padded(speech_spans(speech, settings), settings.pad_s, info.duration_s)
    if settings.at == "sentences":
        assert recognise is not None
        spans = [part for span in spans for part in _sentences(path, span, settings, recognise)]
    return spans, f"{path}: no speech was found"


def speech_probability(path: Path, duration_s: float) -> npt.NDArray[np.float32]:
    """Probability of speech in each frame of 32 ms, shape (T,), in bounded memory."""
    from faster_whisper.vad import get_vad_model

    detect = get_vad_model()
    parts = []
    for start_s in np.arange(0.0, max(duration_s, FRAME_S), BLOCK_S):
        end_s = min(float(start_s) + BLOCK_S, duration_s)
        samples = audio.read_audio(path, float(start_s), end_s)
        # As long as it should be, or sound that is missing in one block would move all that comes after.
        length = max(len(samples), round((end_s - float(start_s)) * media.SAMPLE_RATE_HZ))
        sound = np.zeros(-(-length // FRAME_SAMPLES) * FRAME_SAMPLES, np.float32)
        sound[: len(samples)] = samples / np.float32(32768)
        if len(sound):
            parts.append(np.asarray(detect(sound), np.float32).reshape(-1))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def speech_spans(speech: npt.NDArray[np.float32], settings: Cut) -> list[Span]:
    """Spans of speech, none longer than max_s, and none shorter than min_s that has a neighbour near.

    Args:
        speech: probability of speech in each frame of 32 ms, shape (T,).
        settings: lengths of pauses and utterances.
    """
    spans: list[tuple[int, int]] = []  # in frames
    begin = None
    for frame, probability in enumerate([*speech.tolist(), 0.0]):
        if begin is None and probability >= SPEECH:
            begin = frame
        elif begin is not None and probability < SILENCE:
            spans.append((begin, frame))
            begin = None
    whole = _joined(spans, lambda a, b: (b[0] - a[1]) * FRAME_S < settings.pause_s)
    short = [part for span in whole for part in _divided(span, speech, settings)]

    def belongs(a: tuple[int, int], b: tuple[int, int]) -> bool:
        crumb = min(a[1] - a[0], b[1] - b[0]) * FRAME_S < settings.min_s
        return crumb and (b[1] - a[0]) * FRAME_S <= settings.max_s and (b[0] - a[1]) * FRAME_S < 2 * settings.pause_s

    return [(a * FRAME_S, b * FRAME_S) for a, b in _joined(short, belongs)]


def _joined(spans: Sequence[Any], belongs: Callable[[Any, Any], bool]) -> list[Any]:
    """Neighbours that belong together as one span."""
    joined: list[Any] = []
    for span in spans:
        if joined and belongs(joined[-1], span):
            joined[-1] = (joined[-1][0], span[1])
        else:
            joined.append(span)
    return joined


def _divided(span: tuple[int, int], speech: npt.NDArray[np.float32], settings: Cut) -> list[tuple[int, int]]:
    """A span cut at its quietest frames, away from its ends, until no part is longer than max_s."""
    begin, end = span
    if (end - begin) * FRAME_S <= settings.max_s:
        return [span]
    margin = min(round(settings.min_s / FRAME_S), (end - begin - 1) // 2)
    inner = speech[begin + margin : end - margin]
    middle = np.abs(np.linspace(-1, 1, len(inner)))  # of equally quiet frames, the one nearest the middle
    place = begin + margin + int(np.argmin(inner + 0.01 * middle))
    return [*_divided((begin, place), speech, settings), *_divided((place, end), speech, settings)]


def _sentences(path: Path, span: Span, settings: Cut, recognise: Callable[..., Any]) -> list[Span]:
    said = recognise(audio.read_audio(path, *span))
    return at_sentences(span, [(word.text, word.start_s, word.end_s) for word in said.words], settings.min_s)


def at_sentences(span: Span, words: Words, min_s: float) -> list[Span]:
    """Cut a span of speech between sentences; a sentence shorter than min_s stays with the one before or after it.

    Args:
        span: start and end (seconds).
        words: what was recognised in it, with times from the span's start.
        min_s: least length of a part (seconds).
    """
    start_s, end_s = span
    cuts = [start_s]
    for (text, _, ended), (_, begins, _) in pairwise(words):
        cut = start_s + (ended + begins) / 2
        if text.endswith(SENTENCE_ENDS) and cut - cuts[-1] >= min_s and end_s - cut >= min_s:
            cuts.append(cut)
    return list(zip(cuts, [*cuts[1:], end_s], strict=True))


def padded(spans: Sequence[Span], pad_s: float, duration_s: float) -> list[Span]:
    """Spans with some sound kept before and after, without overlap and within the recording."""
    result = []
    for index, (start, end) in enumerate(spans):
        before = spans[index - 1][1] if index else -np.inf
        after = spans[index + 1][0] if index + 1 < len(spans) else np.inf
        first = max(0.0, start - pad_s, (before + start) / 2)
        result.append((first, min(duration_s, end + pad_s, (end + after) / 2)))
    return result


def read_cut_corpus(dataset: Dataset, folder: Path) -> Corpus:
    """A corpus of utterances in place of recordings; a recording without any stays as it is, a whole.

    Args:
        dataset: its description.
        folder: holds manifest.csv and excluded.csv of the recordings, and `cut_shard`'s table of each shard.
    """
    recordings = read_manifest(folder / "manifest.csv")
    tables = [read_utterances(path) for path in shard_files(folder / "manifest.csv", folder, ".csv")]
    found = pd.concat(tables).dropna(subset=["start_s"]).rename(columns={"recording": "clip_id"})
    clips = recordings.drop(columns=["start_s", "end_s"]).merge(
        found[["clip_id", "start_s", "end_s"]], on="clip_id", how="left"
    )
    number = clips.groupby("clip_id").cumcount() + 1
    cut = clips["start_s"].notna()
    clips.loc[cut, "clip_id"] += number[cut].map("_{:04d}".format).astype(str)  # also where there is none
    clips["shard"] = deal(clips["media"], dataset.shard_clips)
    silent = [f"{row.recording}: {row.message}" for row in pd.concat(tables).itertuples() if row.message]
    return Corpus(clips[recordings.columns], read_excluded(folder / "manifest.csv"), silent)

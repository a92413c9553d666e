"""Cut long recordings without known times into utterances: at pauses, and at the ends of recognised sentences."""

import contextlib
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mse import media
from mse.atomic import replacing
from mse.audio import AudioReader
from mse.config import Cut, Dataset
from mse.corpus import Corpus, read_excluded, read_manifest, shard_files
from mse.corpus.manifest import deal
from mse.cut_words import COLUMNS, CutWords, divide, words_row
from mse.errors import UserError, describe_error
from mse.features.speech import Transcript
from mse.features.voice_activity import FRAME_S, SPEECH, speech_probability
from mse.progress import track
from mse.rows import Window
from mse.segment import SoundWindows
from mse.store import Status, refuse_all_failed
from mse.tables import read_table

BLOCK_S = 600.0  # sound held in memory at once; whole frames of the detector
LOST_S = 1.0  # audio that ends this much before its recording is reported
SILENCE = 0.35  # speech ends below this probability
SENTENCE_ENDS = tuple(".?!\u2026\u3002\uff1f\uff01")  # the latter three in Chinese

TIMES = ("recording", "start_s", "end_s", "message")
Span = tuple[float, float]  # start and end (seconds)
Words = Sequence[tuple[str, float, float]]  # each word with its start and end (seconds)


def cut_shard(
    recordings: Sequence[Window],
    out: Path,
    settings: Cut,
    recognise: Callable[..., Any] | None,
    audio_track: int | None = None,
) -> None:
    """Find the utterances of some recordings.

    Args:
        recordings: clips that are whole recordings.
        out: CSV with recording (its clip_id), start_s, end_s and message, and, of recordings cut at sentences, what was
            recognised: status, text, language, confidence and words (mse.cut_words). A row an utterance, and where
            there is none, or something could not be read or recognised, a row without times that says why.
        settings: where to cut.
        recognise: from samples to a Transcript (mse.features.speech); needed to cut at sentences.
        audio_track: which of a recording's audio tracks, from 1; None for the default one.

    Raises:
        UserError: the recogniser fails whatever it is given.
    """
    rows: list[dict[str, Any]] = []
    recognised: list[tuple[Status, str]] = []
    for row in track(recordings, f"cut {out.stem}", len(recordings), "recordings"):
        sound = _Decoding(Path(row.media), audio_track)
        spans, notes = _find_speech(sound, settings)
        said: Sequence[Transcript | Exception | None] = [None] * len(spans)
        if settings.at == "sentences" and spans:
            assert recognise is not None
            spans, said, tried = _cut_at_sentences(sound, spans, settings.min_s, recognise)
            recognised += tried
            notes += dict.fromkeys(message for _, message in tried if message)
        for (start_s, end_s), words in zip(spans, said, strict=True):
            times = {"start_s": round(start_s, 3), "end_s": round(end_s, 3)}
            if times["start_s"] < times["end_s"]:
                rows.append({"recording": row.clip_id, **times, **(words_row(words) if words else {})})
        if notes:
            rows.append({"recording": row.clip_id, "message": "; ".join(notes)})
    refuse_all_failed(recognised, str(out))
    with replacing(out) as partial:
        pd.DataFrame(rows, columns=[*TIMES, *COLUMNS]).to_csv(partial, index=False)


def read_utterances(path: Path) -> pd.DataFrame:
    """Read the table that `cut_shard` writes."""
    texts = ("recording", "message", *(column for column in COLUMNS if column != "confidence"))
    return read_table(path, texts, ("start_s", "end_s", "confidence"), "mse cut", required=TIMES)


def read_cut_words(folder: Path) -> CutWords:
    """Read the words of all utterances of a corpus, by the names that these have as its clips.

    Args:
        folder: as for `read_cut_corpus`.
    """
    found = _read_all(folder).dropna(subset=["start_s"])
    return CutWords(found.assign(clip_id=number_utterances(found)), folder)


def _read_all(folder: Path) -> pd.DataFrame:
    return pd.concat([read_utterances(path) for path in shard_files(folder / "manifest.csv", folder, ".csv")])


def number_utterances(table: pd.DataFrame) -> pd.Series:
    """Names of utterances as clips: that of the recording, and a number in the order of the table."""
    return table["recording"] + (table.groupby("recording").cumcount() + 1).map("_{:04d}".format).astype(str)


class _Decoding:
    """The sound of a recording, as far as it can be decoded; one of a single block is decoded once.

    Args:
        path: the recording.
        track: which of its audio tracks, from 1; None for the default one.

    Attributes:
        path, track: as given.
        length_s: how much sound there was.
        failure: why it ended, where it is not the recording's end.
    """

    def __init__(self, path: Path, track: int | None) -> None:
        self.path, self.track, self.length_s, self.failure = path, track, 0.0, ""
        self._reader = AudioReader(path, track)
        self._only: npt.NDArray[np.int16] | None = None

    @property
    def note(self) -> str:
        """What was done beside decoding, in words; empty for nothing."""
        return self._reader.note

    def blocks(self) -> Generator[npt.NDArray[np.int16], None, None]:
        """Decode from the start, block by block; what can't be decoded is noted, not raised."""
        if self._only is not None:
            yield self._only
            return
        self.length_s, only = 0.0, None
        try:
            with contextlib.closing(self._reader.blocks(block_s=BLOCK_S)) as blocks:
                for number, block in enumerate(blocks):
                    only = None if number else block
                    self.length_s += len(block) / media.SAMPLE_RATE_HZ
                    yield block
        except media.MediaError as e:
            self.failure = str(e)
        self._only = only


def _find_speech(sound: _Decoding, settings: Cut) -> tuple[list[Span], list[str]]:
    """Spans of speech between pauses, and what else is to be known, such as why there are none."""
    try:
        info = media.probe(sound.path)
    except media.MediaError as e:
        return [], [str(e)]
    if not info.has_audio:
        return [], [f"{sound.path}: no sound to find speech in"]
    speech = speech_probability(sound.blocks)
    if not len(speech):
        return [], [sound.failure or f"{sound.path}: none of its sound can be decoded"]
    notes = [media.describe_tracks(sound.path, info, sound.track), sound.note, sound.failure]
    notes = [note for note in notes if note]
    if sound.length_s < info.duration_s - LOST_S:
        notes.append(f"{sound.path}: sound for {sound.length_s:.2f} of {info.duration_s:.2f} s; the rest was not cut")
    # A coder's padding may outlast the recording.
    outlasts = sound.length_s > info.duration_s + media.END_TOLERANCE_S
    length_s = sound.length_s if outlasts else min(sound.length_s, info.duration_s)
    # Padded: without a moment of silence before it, the first words are misheard.
    spans = padded(speech_spans(speech, settings), settings.pad_s, length_s)
    return spans, notes if spans else [*notes, f"{sound.path}: no speech was found"]


def _cut_at_sentences(
    sound: _Decoding, spans: Sequence[Span], min_s: float, recognise: Callable[..., Any]
) -> tuple[list[Span], list[Transcript | Exception], list[tuple[Status, str]]]:
    """Cut spans where a sentence ends; one that can't be recognised stays as it is.

    Returns:
        the parts, what was recognised in each, and what became of each span.
    """
    parts: list[Span] = []
    words: list[Transcript | Exception] = []
    found: list[tuple[Status, str]] = []
    with contextlib.closing(sound.blocks()) as blocks:
        windows = SoundWindows(blocks, 0.0)
        for span in spans:
            try:
                said = recognise(windows.window(*span))
            except Exception as e:  # whatever it stumbles over, the other spans and recordings are not to blame
                reason = f"{sound.path}: cut at pauses alone: speech recognition failed: {describe_error(e)}"
                found.append((Status.failed, reason))
                parts.append(span)
                words.append(UserError(describe_error(e)))
                continue
            found.append((Status.ok, ""))
            of_span = at_sentences(span, [(word.text, word.start_s, word.end_s) for word in said.words], min_s)
            parts += of_span
            words += divide(said, [start_s - span[0] for start_s, _ in of_span])
    return parts, words, found


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
    table = _read_all(folder)
    found = table.dropna(subset=["start_s"]).rename(columns={"recording": "clip_id"})
    clips = recordings.drop(columns=["start_s", "end_s"]).merge(
        found[["clip_id", "start_s", "end_s"]], on="clip_id", how="left"
    )
    numbered = number_utterances(clips.rename(columns={"clip_id": "recording"}))
    cut = clips["start_s"].notna()
    # A whole recording keeps its name, unless it is called as an utterance of another.
    clips["clip_id"] = numbered.where(cut | clips["clip_id"].isin(numbered[cut]), clips["clip_id"])
    clips["shard"] = deal(clips["media"], dataset.shard_clips)
    of_recordings = table[table["start_s"].isna() & (table["message"] != "")]
    notes = [f"{row.recording}: {row.message}" for row in of_recordings.itertuples()]
    return Corpus(clips[recordings.columns], read_excluded(folder / "manifest.csv"), notes)

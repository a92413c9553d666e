"""The words of utterances, as they were recognised when recordings were cut at the ends of sentences.

What was recognised once is not recognised again: `mse cut` writes the words of its utterances beside their times, and
`mse transcribe --recordings` takes them from there.
"""

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mse.errors import UserError
from mse.features.speech import Transcript, Word
from mse.media import SAMPLE_RATE_HZ
from mse.store import Clip, Status

COLUMNS = ("status", "text", "language", "confidence", "words")  # of an utterance, beside its times and message


def divide(said: Transcript, starts_s: Sequence[float]) -> list[Transcript]:
    """Divide the transcript of a stretch of speech among the utterances that it is cut into.

    A word belongs to the utterance in which its middle lies. What was left out of the stretch is noted for each.

    Args:
        said: its words with times from the stretch's start.
        starts_s: where each utterance begins, from there, rising; the first at 0.
    """
    middles_s = [(word.start_s + word.end_s) / 2 for word in said.words]
    owners = np.searchsorted(np.asarray(starts_s[1:], float), np.maximum.accumulate([0.0, *middles_s])[1:], "right")
    counts = [int((owners < number).sum()) for number in range(len(starts_s) + 1)]  # of words before each utterance
    marks = [0, *(_end_of(said, count) for count in counts[1:-1]), len(said.text)]
    parts = []
    for start_s, (first, last), (begin, end) in zip(starts_s, pairwise(counts), pairwise(marks), strict=True):
        words = [_moved(word, start_s) for word in said.words[first:last]]
        confidence = float(np.mean([word.probability for word in words])) if words else 0.0
        parts.append(Transcript(said.text[begin:end].strip(), words, confidence, said.language, said.note))
    return parts


def _end_of(said: Transcript, count: int) -> int:
    """Where the first words end in the text, by their letters: marks may be written otherwise in it than in words."""
    letters = [place for place, character in enumerate(said.text) if _is_letter(character)]
    passed = min(sum(map(_is_letter, "".join(word.text for word in said.words[:count]))), len(letters))
    if not passed:
        return 0
    own_marks = next(
        (n for n, character in enumerate(reversed(said.words[count - 1].text)) if _is_letter(character)), 0
    )
    following = letters[passed] if passed < len(letters) else len(said.text)
    return min(letters[passed - 1] + 1 + own_marks, following)


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LMN"


def _moved(word: Word, start_s: float) -> Word:
    begins_s, ends_s = (round(max(0.0, time_s - start_s), 2) for time_s in (word.start_s, word.end_s))
    return Word(word.text, begins_s, ends_s, word.probability)


def words_row(said: Transcript | Exception) -> dict[str, Any]:
    """COLUMNS and message of an utterance.

    Args:
        said: what was recognised in it, or why nothing could be.
    """
    if isinstance(said, Exception):
        return {"status": Status.failed.name, "message": str(said)}
    words = json.dumps([asdict(word) for word in said.words], ensure_ascii=False)
    row = {"status": Status.ok.name, "message": said.note, "text": said.text, "language": said.language}
    return row | {"confidence": said.confidence, "words": words}


class CutWords:
    """Gives the transcripts of clips that are utterances of recordings cut at the ends of sentences.

    Args:
        table: utterances of these recordings, as `read_utterances` gives them, with a column clip_id.
        source: where it came from, for messages.

    Raises:
        UserError: the recordings were not cut at sentences, or by a version of mse that kept no words.
    """

    def __init__(self, table: pd.DataFrame, source: Path) -> None:
        if not set(COLUMNS) <= set(table.columns) or (table["status"] == "").any():
            raise UserError(f"{source}: holds no words: `mse cut` keeps those of recordings that it cuts at sentences")
        self._rows = {row["clip_id"]: row for row in table.to_dict("records")}

    def __call__(self, clip: Clip) -> Transcript:
        """What was recognised in a clip, as far as the clip reaches.

        Raises:
            UserError: nothing could be recognised.
        """
        row = self._rows.get(clip.clip_id)
        if row is None:
            return Transcript("", [], 0.0, "", "no speech was found in its recording")
        if row["status"] == Status.failed.name:
            raise UserError(row["message"])
        words = [Word(**word) for word in json.loads(row["words"])]
        said = Transcript(row["text"], words, row["confidence"], row["language"], row["message"])
        length_s = len(clip.values) / SAMPLE_RATE_HZ
        return said if not words or words[-1].start_s <= length_s else divide(said, [0.0, length_s])[0]

"""Words of utterances: what was recognised when a recording was cut is divided among its utterances, and kept."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mse import media
from mse.config import Cut, TranscribeSettings
from mse.cut_words import CutWords, divide
from mse.errors import UserError
from mse.features.speech import Recogniser, Transcript, Word
from mse.rows import Window
from mse.store import Clip
from mse.transcribe import transcript_row
from mse.utterances import cut_shard, number_utterances, read_utterances


def said(text: str, *words: tuple[str, float, float]) -> Transcript:
    return Transcript(text, [Word(*word, probability=0.5) for word in words], 0.5, "en", "left out 'x': y")


def test_words_and_marks_go_with_their_utterance() -> None:
    whole = said("It rains. “No way!” he said.", ("It", 0.2, 0.4), ("rains.", 0.4, 1.0), ("“No", 1.4, 1.6),
                 ("way!”", 1.6, 2.0), ("he", 2.4, 2.5), ("said.", 2.5, 3.0))  # fmt: skip
    parts = divide(whole, [0.0, 1.2, 2.2])
    assert [part.text for part in parts] == ["It rains.", "“No way!”", "he said."]
    assert [[w.text for w in part.words] for part in parts] == [["It", "rains."], ["“No", "way!”"], ["he", "said."]]
    assert (parts[1].words[0].start_s, parts[2].words[1].end_s) == (0.2, 0.8)
    assert {part.note for part in parts} == {whole.note} and {part.confidence for part in parts} == {0.5}


def test_text_that_is_written_otherwise_than_its_words() -> None:
    """Chinese has no spaces, its marks are made wide in the text, and combining marks are no letters of their own."""
    whole = said("好,我们走。Café ok?", ("好,", 0.0, 0.5), ("我们", 0.6, 1.0), ("走", 1.0, 1.4), ("。", 1.4, 1.4),
                 ("Cafe\u0301", 2.0, 2.5), ("ok?", 2.5, 3.0))  # fmt: skip
    first, second = divide(whole, [0.0, 1.7])
    assert first.text + second.text == "好,我们走。Café ok?" and first.text.startswith("好,我们走")
    assert divide(Transcript("", [], 0.0, "en"), [0.0])[0] == Transcript("", [], 0.0, "en")


def test_a_clip_that_ends_early_has_the_words_until_then(tmp_path: Path) -> None:
    words = json.dumps([asdict(Word("One.", 0.0, 1.0, 1.0)), asdict(Word("Two.", 3.0, 4.0, 1.0))])
    row = {"clip_id": "a_0001", "status": "ok", "message": "", "text": "One. Two.", "language": "en", "confidence": 1.0}
    table = pd.DataFrame([row | {"words": words}, {"clip_id": "a_0002", "status": "failed", "message": "no memory"}])
    tell = CutWords(table, tmp_path)

    def clip(name: str, seconds: int) -> Clip:
        return Clip(name, np.zeros((seconds * 16_000, 1), np.int16), np.ones(seconds * 16_000, bool))

    assert [tell(clip("a_0001", seconds)).text for seconds in (5, 2)] == ["One. Two.", "One."]
    assert transcript_row(clip("a_0002", 1), tell)["message"] == "speech recognition failed: no memory"
    assert transcript_row(clip("b", 1), tell)["message"] == "no speech was found in its recording"
    with pytest.raises(UserError, match="holds no words"):
        CutWords(table.assign(status=""), tmp_path)


def test_each_word_is_recognised_once_and_none_is_lost(
    voice: np.ndarray, models: Callable[[str], Path], tmp_path: Path
) -> None:
    """Every word that was heard in the recording is in exactly one utterance, with its time in the recording."""
    black = [np.zeros((64, 64, 3), np.uint8)] * 20
    media.write_video(tmp_path / "talk.mp4", black[: len(voice) // 16_000], voice, 1)
    heard: list[Transcript] = []
    recogniser = Recogniser(TranscribeSettings(), models("whisper-tiny.en"), "en")

    def recognise(samples: np.ndarray) -> Transcript:
        heard.append(recogniser(samples))
        return heard[-1]

    recording = Window("talk", str(tmp_path / "talk.mp4"), np.nan, np.nan, "0000")
    cut_shard([recording], tmp_path / "cut.csv", Cut(at="sentences"), recognise)
    table = read_utterances(tmp_path / "cut.csv")
    tell = CutWords(table.assign(clip_id=number_utterances(table)), tmp_path)
    spans = (table["end_s"] - table["start_s"]).tolist()
    told = [
        tell(Clip(f"talk_{number:04d}", np.zeros((round(length * 16_000), 1), np.int16), np.ones(1, bool)))
        for number, length in enumerate(spans, 1)
    ]
    assert len(told) > len(heard)  # stretches of speech are cut into sentences
    assert " ".join(part.text for part in told) == " ".join(part.text for part in heard)
    assert [w.text for part in told for w in part.words] == [w.text for part in heard for w in part.words]
    for part, length in zip(told, spans, strict=True):
        assert all(0 <= word.start_s <= word.end_s <= length + 0.1 for word in part.words)

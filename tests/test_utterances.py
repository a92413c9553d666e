"""Cutting recordings: at pauses, at sentences, never longer or without need shorter than wanted."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mse import media
from mse.config import Cut, Dataset
from mse.features.voice_activity import FRAME_S, speech_probability
from mse.utterances import at_sentences, padded, read_cut_corpus, speech_spans

SETTINGS = Cut(pause_s=0.5, min_s=1.0, max_s=6.0, pad_s=0.2)


def speech(*parts: tuple[float, float]) -> np.ndarray:
    """Probability 0.9 or another for some seconds each."""
    return np.concatenate([np.full(round(seconds / FRAME_S), p, np.float32) for seconds, p in parts])


def near(spans: list[tuple[float, float]]) -> object:
    """Equal within two frames."""
    return pytest.approx(np.array(spans), abs=0.07)


def test_long_pauses_cut_and_short_ones_do_not() -> None:
    found = speech_spans(speech((1, 0), (2, 0.9), (0.3, 0), (2, 0.9), (0.8, 0), (1.5, 0.9), (1, 0)), SETTINGS)
    assert found == near([(1.0, 5.3), (6.1, 7.6)])


def test_probability_between_the_thresholds_carries_on() -> None:
    assert speech_spans(speech((1, 0.9), (1, 0.4), (1, 0.9), (1, 0.45)), SETTINGS) == near([(0.0, 4.0)])
    assert speech_spans(speech((3, 0.45)), SETTINGS) == []


def test_crumbs_join_a_near_neighbour_only() -> None:
    close = speech_spans(speech((2, 0.9), (0.6, 0), (0.4, 0.9), (3, 0)), SETTINGS)
    assert close == near([(0.0, 3.0)])
    far = speech_spans(speech((2, 0.9), (3, 0), (0.4, 0.9), (3, 0)), SETTINGS)
    assert far == near([(0.0, 2.0), (5.0, 5.4)])


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    found = speech_spans(speech((4, 0.95), (0.1, 0.4), (5, 0.95)), SETTINGS)
    assert len(found) == 2 and 3.9 < found[0][1] < 4.2
    monotone = speech_spans(speech((20, 0.9)), SETTINGS)
    lengths = [b - a for a, b in monotone]
    assert max(lengths) <= SETTINGS.max_s and min(lengths) >= SETTINGS.min_s
    assert sum(lengths) == pytest.approx(20, abs=0.1)


def test_sentences_end_between_words() -> None:
    words = [("Oh.", 0.0, 0.4), ("Well", 0.5, 1.0), ("then.", 1.0, 1.6), ("好\u3002", 2.0, 3.0), ("Bye.", 3.2, 3.4)]
    assert at_sentences((10.0, 13.5), words, 1.0) == near([(10.0, 11.8), (11.8, 13.5)])
    assert at_sentences((1.0, 2.0), [], 1.0) == [(1.0, 2.0)]


def test_padding_never_overlaps_nor_leaves_the_recording() -> None:
    found = padded([(0.1, 1.0), (1.2, 2.0), (3.0, 3.95)], 0.2, 4.0)
    assert [(round(a, 2), round(b, 2)) for a, b in found] == [(0.0, 1.1), (1.1, 2.2), (2.8, 4.0)]


def blocks_of(sound: np.ndarray, seconds: float) -> Callable[[], list[np.ndarray]]:
    """A sound in blocks of some seconds, as `speech_probability` reads it."""
    size = round(seconds * media.SAMPLE_RATE_HZ)
    return lambda: [sound[begin : begin + size] for begin in range(0, len(sound), size)]


def test_blocks_change_nothing(voice: np.ndarray) -> None:
    """A long recording is judged in blocks; where they meet, the utterances stay the same."""
    whole, parts = (speech_spans(speech_probability(blocks_of(voice, s)), SETTINGS) for s in (600, 3.2))
    assert len(whole) == len(parts) == 2
    assert np.abs(np.array(whole) - np.array(parts)).max() < 0.15


def test_recordings_without_any_utterance_stay_whole(tmp_path: Path) -> None:
    """Under their own name, unless it is that of another's utterance; what could not be read is noted."""
    header = "clip_id,media,start_s,end_s,split,speaker,text,label,shard"
    rows = [f"{name},{name}.mp4,,,test,,,,0000" for name in ("a", "b", "b_0001")]
    (tmp_path / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "excluded.csv").write_text("clip_id,reason\n")
    cut = ["a,,,no speech", "b,1,2,", "b,3,4,", "b,,,sound for 5 of 9 s", "b_0001,,,no speech"]
    (tmp_path / "0000.csv").write_text("\n".join(["recording,start_s,end_s,message", *cut]) + "\n")
    dataset = Dataset(root=tmp_path, files="{name}.mp4", text_from="asr", cut=Cut())
    corpus = read_cut_corpus(dataset, tmp_path)
    assert corpus.clips["clip_id"].tolist() == ["a", "b_0001", "b_0002", "b_0001_0001"]
    assert corpus.clips["end_s"].fillna(0).tolist() == [0, 2, 4, 0]
    assert corpus.notes == ["a: no speech", "b: sound for 5 of 9 s", "b_0001: no speech"]

"""Cutting recordings: at pauses, at sentences, never longer or without need shorter than wanted."""

from pathlib import Path

import numpy as np
import pytest

from mse import media, utterances
from mse.config import Cut, Dataset
from mse.utterances import FRAME_S, at_sentences, padded, read_cut_corpus, speech_probability, speech_spans
from tests.conftest import grey_frames

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


def test_blocks_change_nothing(tmp_path: Path, voice: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long recording is judged in blocks; where they meet, the utterances stay the same."""
    frames = grey_frames(len(voice) / media.SAMPLE_RATE_HZ, rate_hz=5, side_px=32)
    media.write_video(tmp_path / "v.mp4", frames, voice, 5)
    length_s = media.probe(tmp_path / "v.mp4").duration_s
    whole = speech_spans(speech_probability(tmp_path / "v.mp4", length_s), SETTINGS)
    monkeypatch.setattr(utterances, "BLOCK_S", 3.2)
    parts = speech_spans(speech_probability(tmp_path / "v.mp4", length_s), SETTINGS)
    assert len(whole) == len(parts) == 2
    assert np.abs(np.array(whole) - np.array(parts)).max() < 0.15


def test_recordings_without_any_utterance_stay_whole(tmp_path: Path) -> None:
    header = "clip_id,media,start_s,end_s,split,speaker,text,label,shard"
    (tmp_path / "manifest.csv").write_text(f"{header}\na,a.mp4,,,test,,,,0000\n")
    (tmp_path / "excluded.csv").write_text("clip_id,reason\n")
    (tmp_path / "0000.csv").write_text("recording,start_s,end_s,message\na,,,no speech\n")
    dataset = Dataset(root=tmp_path, files="{name}.mp4", text_from="asr", cut=Cut())
    corpus = read_cut_corpus(dataset, tmp_path)
    assert list(corpus.clips["clip_id"]) == ["a"] and corpus.notes == ["a: no speech"]

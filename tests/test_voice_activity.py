"""Speech is told from silence whatever the loudness: quiet recordings, quiet parts, clicks and bangs, an offset."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mse import media
from mse.audio import read_audio
from mse.config import Cut, TranscribeSettings
from mse.features.speech import Recogniser
from mse.features.voice_activity import SPEECH, frame_peaks, nearby_levels, speech_probability
from mse.rows import Window
from mse.utterances import cut_shard, read_utterances
from tests.conftest import ffmpeg

RATE = media.SAMPLE_RATE_HZ
PAUSE = round(5.2 * RATE)  # within the voice's long pause


def hear(sound: np.ndarray) -> np.ndarray:
    """Whether each frame is speech, shape (T,)."""
    return speech_probability(lambda: [sound]) > SPEECH


def soft(voice: np.ndarray, level_db: float) -> np.ndarray:
    return np.round(voice * 10 ** (level_db / 20)).astype(np.int16)


def share_heard(sound: np.ndarray, voice: np.ndarray) -> tuple[float, float]:
    """Of the frames in which the voice as it is has speech, and of the others: the share heard as speech."""
    found, true = hear(sound), hear(voice)
    return float(found[true].mean()), float(found[~true].mean())


def one_sample(sound: np.ndarray) -> None:
    sound[4_000] = 32_767


def bang(sound: np.ndarray) -> None:
    """A door that slams, as loud as can be, and dies away."""
    slam = np.random.default_rng(0).integers(-32_767, 32_767, RATE // 2) * np.exp(-np.arange(RATE // 2) / 1_500)
    sound[PAUSE : PAUSE + len(slam)] = slam


def offset(sound: np.ndarray) -> None:
    """A converter that is badly balanced."""
    sound += 1_000


@pytest.mark.parametrize("level_db", [0.0, -20.0, -40.0, -60.0])
@pytest.mark.parametrize("spoil", [None, one_sample, bang, offset])
def test_speech_is_heard_however_soft(
    voice: np.ndarray, level_db: float, spoil: Callable[[np.ndarray], None] | None
) -> None:
    sound = soft(voice, level_db)
    if spoil:
        spoil(sound)
    heard, noise = share_heard(sound, voice)
    assert heard > 0.75 and noise < 0.25


@pytest.mark.parametrize("level_db", [-30.0, -60.0])
def test_a_part_that_is_softer_is_heard(voice: np.ndarray, level_db: float) -> None:
    """A microphone that is turned down after a minute and a half: what follows within 30 s may be lost."""
    loud, part = np.tile(voice, 10), np.tile(soft(voice, level_db), 10)
    found, true = (hear(np.concatenate([loud, second])) for second in (part, loud))
    half, settled = len(loud) // 512, (len(loud) + 30 * RATE) // 512
    assert found[:half][true[:half]].mean() > 0.95
    assert found[settled:][true[settled:]].mean() > 0.75


@pytest.mark.parametrize("noise_steps", [0.5, 2.0, 20.0])
def test_pauses_are_not_turned_up_to_speech(voice: np.ndarray, noise_steps: float) -> None:
    """A short pause keeps the level of the talk around it; a long one, of noise alone, is no speech at any level."""
    rng = np.random.default_rng(0)
    for pause_s in (8, 100):
        noise = np.round(rng.normal(size=pause_s * RATE) * noise_steps).astype(np.int16)
        sound = np.concatenate([voice, noise, voice])
        inside = slice(len(voice) // 512 + 10, (len(voice) + len(noise)) // 512 - 10)
        assert hear(sound)[inside].mean() < 0.02
        levels = nearby_levels(frame_peaks(sound))
        assert levels[0][inside].min() > 1_000 if pause_s == 8 else levels[0][inside].min() < 200


def test_an_ordinary_clip_has_one_level_its_peak(voice: np.ndarray) -> None:
    (level,) = nearby_levels(frame_peaks(voice))
    assert np.ptp(level) < 1 and level[0] == pytest.approx(np.abs(voice.astype(int)).max(), rel=0.05)
    assert nearby_levels(np.zeros(0, np.float32))[0].shape == (0,)
    assert speech_probability(lambda: []).shape == speech_probability(lambda: [voice[:0]]).shape == (0,)
    assert not hear(np.zeros(RATE, np.int16)).any()


@pytest.mark.parametrize("name", ["soft.flac", "soft.mp3", "soft.webm"])
def test_quiet_recordings_are_cut_and_recognised(
    tmp_path: Path, voice: np.ndarray, models: Callable[[str], Path], name: str
) -> None:
    """The same utterances as of the recording before it was turned down; Whisper is given it too."""
    media.write_video(tmp_path / "v.mp4", [np.zeros((32, 32, 3), np.uint8)] * 9, voice, 1)
    ffmpeg("-i", tmp_path / "v.mp4", "-vn", "-af", "volume=-45dB", tmp_path / name)
    clips = [Window(path, str(tmp_path / path), np.nan, np.nan) for path in ("v.mp4", name)]
    cut_shard(clips, tmp_path / "cut.csv", Cut(), None)
    found = read_utterances(tmp_path / "cut.csv")
    loud, quiet = (found[found["recording"] == path][["start_s", "end_s"]].to_numpy() for path in ("v.mp4", name))
    assert len(loud) == len(quiet) == 2 and np.abs(loud - quiet).max() < 0.25
    said = Recogniser(TranscribeSettings(), models("whisper-tiny.en"), "en")(read_audio(tmp_path / name))
    assert said.words and not said.note.startswith("no speech")

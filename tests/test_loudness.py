"""Measures of a recording, against signals whose level, clipping and noise are known."""

import numpy as np
import pytest

from mse.loudness import clipping, loudness_dbfs, snr_db

NOTHING = np.zeros(0, np.int16)


def sine(seconds: float, amplitude: float) -> np.ndarray:
    """A tone of 500 Hz in floating point, whole periods in a frame of 32 ms."""
    return amplitude * np.sin(2 * np.pi * 500 * np.arange(round(seconds * 16_000)) / 16_000)


def test_a_tone_of_known_level() -> None:
    assert loudness_dbfs(sine(1, 32767).astype(np.int16)) == pytest.approx(-3.01, abs=0.02)
    assert loudness_dbfs(sine(1, 3276.7).astype(np.int16)) == pytest.approx(-23.01, abs=0.02)
    assert loudness_dbfs(np.zeros(100, np.int16)) == -120
    assert np.isnan(loudness_dbfs(NOTHING))


def test_clipped_samples_are_counted() -> None:
    samples = np.zeros(1000, np.int16)
    samples[:6] = [32767, -32768, 32700, -32700, 32699, -32699]
    assert clipping(samples) == 0.004
    assert clipping(np.clip(sine(1, 40_000), -32768, 32767).astype(np.int16)) == 14 / 32  # of each period's samples
    assert clipping(sine(1, 30_000).astype(np.int16)) == 0
    assert np.isnan(clipping(NOTHING))


@pytest.mark.parametrize("expected_db", [3.0, 10.0, 20.0, 40.0])
def test_noise_in_the_pauses_of_a_tone(expected_db: float) -> None:
    amplitude = 8000.0
    noise_rms = amplitude / np.sqrt(2) / 10 ** (expected_db / 20)
    spoken = sine(4, amplitude) * (np.arange(64_000) // 8_000 % 2)  # half a second on, half a second off
    noise = np.random.default_rng(0).normal(scale=noise_rms, size=64_000)
    assert snr_db(np.round(spoken + noise).astype(np.int16)) == pytest.approx(expected_db, abs=2)


def test_sound_without_a_ratio() -> None:
    assert np.isnan(snr_db(NOTHING))
    assert np.isnan(snr_db(sine(0.49, 8000).astype(np.int16)))
    assert np.isnan(snr_db(np.zeros(16_000, np.int16)))
    assert snr_db(sine(1, 8000).astype(np.int16)) == -20  # without pauses
    half = np.concatenate([sine(1, 8000), np.zeros(16_000)]).astype(np.int16)
    assert 80 < snr_db(half) <= 100  # pauses of digital silence

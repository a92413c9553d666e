"""Measures of how well a clip's sound was recorded: its level, how much of it is clipped, and how much is noise."""

import math

import numpy as np
import numpy.typing as npt

from mse.media import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.int16]

FULL_SCALE = 32768.0
CLIPPED = 32_700  # at or beyond it a sample counts as clipped; lossy coding rounds the flat tops off a little
FRAME_SAMPLES = 512  # 32 ms
SHORTEST_S = 0.5  # below it there are too few frames to tell pauses from speech
QUIETEST_POWER = (1 / FULL_SCALE) ** 2 / 12  # of rounding to whole numbers: no 16-bit recording is quieter
SILENT_POWER = (1 / FULL_SCALE) ** 2  # one step of a 16-bit recording
SNR_LIMITS_DB = -20.0, 100.0


def loudness_dbfs(samples: Samples) -> float:
    """Root mean square relative to full scale, in decibels; NaN without sound, at least -120."""
    if not len(samples):
        return float("nan")
    power = float(np.mean((samples / FULL_SCALE) ** 2))
    return round(10 * math.log10(max(power, 1e-12)), 2)


def clipping(samples: Samples) -> float:
    """Share of samples at full scale or nearly so, from 0 to 1; NaN without sound."""
    if not len(samples):
        return float("nan")
    return round(float(np.mean((samples >= CLIPPED) | (samples <= -CLIPPED))), 5)


def snr_db(samples: Samples) -> float:
    """Estimate the signal-to-noise ratio from the loud and the quiet moments of a clip.

    The noise is taken as the 10th percentile of the mean powers of frames of 32 ms (the pauses between words), and
    signal with noise as their 90th; the ratio is (loud - quiet) / quiet. It needs pauses: sound of even level has a low
    value whatever it is, and what fades out or is cut to digital silence has a high one.

    Args:
        samples: mono at 16 kHz, shape (N,).

    Returns:
        Decibels, within -20 to 100; NaN for a clip shorter than 0.5 s, or silent.
    """
    if len(samples) < SHORTEST_S * SAMPLE_RATE_HZ:
        return float("nan")
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    powers = np.mean((frames / FULL_SCALE) ** 2, axis=1)
    quiet, loud = np.percentile(powers, [10, 90]).tolist()
    if loud <= SILENT_POWER:
        return float("nan")
    quiet = max(quiet, QUIETEST_POWER)
    lowest, highest = SNR_LIMITS_DB
    ratio = max((loud - quiet) / quiet, 10 ** (lowest / 10))
    return round(min(10 * math.log10(ratio), highest), 2)

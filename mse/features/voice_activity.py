"""Tell speech from silence with Silero's voice-activity detector, whose weights faster-whisper carries.

The detector hears nothing in sound that lies more than some 40 dB below what it is used to, while it hardly minds
noise, however loud. So it is given sound that is levelled, by the loudest moments around.
"""

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mse.media import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]

SPEECH = 0.5  # the detector hears speech where its probability is higher
FRAME_SAMPLES = 512  # what it judges at once: 32 ms
FRAME_S = FRAME_SAMPLES / SAMPLE_RATE_HZ
PEAK = 0.5  # of full scale: where the loudest moment is brought to
STRETCH_FRAMES = round(15 / FRAME_S)  # sound is levelled in stretches of 15 s, each with its neighbours
BANG_FRAMES = round(0.5 / FRAME_S)  # what is loud for less than half a second,
BANG = 10.0  # and so many times louder than all else, may be a click or a bang
QUIETEST = 16.0  # steps of 16 bits; what is less is not brought to PEAK, or it might be a converter's own noise


def speech_probability(read: Callable[[], Iterable[Samples]]) -> Floats:
    """Find the probability of speech in each frame of 32 ms, whatever the loudness, in bounded memory.

    Args:
        read: gives the sound, mono at 16 kHz, block by block. It is called twice: for the levels, and for the speech.
            All blocks but the last hold whole frames.

    Returns:
        Shape (T,).
    """
    nothing = np.zeros(0, np.float32)
    levels = nearby_levels(np.concatenate([nothing, *map(frame_peaks, read())]))
    found, first = [nothing], 0
    for block in read():
        frames = _frames(block)
        heard = [_detect(frames, level[first : first + len(frames)]) for level in levels]
        found.append(np.max(heard, axis=0))
        first += len(frames)
    return np.concatenate(found)


def frame_peaks(samples: Samples) -> Floats:
    """Largest value of each frame of 32 ms, in steps of 16 bits, shape (T,)."""
    return np.abs(_frames(samples)).max(axis=1, initial=0)


def _frames(samples: Samples) -> Floats:
    """Sound in frames, shape (T, FRAME_SAMPLES), each without a constant offset; silence fills up the last."""
    frames = np.zeros((-(-len(samples) // FRAME_SAMPLES), FRAME_SAMPLES), np.float32)
    frames.reshape(-1)[: len(samples)] = samples
    frames -= frames.mean(axis=1, keepdims=True)
    return frames


def nearby_levels(peaks: Floats) -> list[Floats]:
    """Find what is to be brought to PEAK in each frame: the largest value near it.

    A pause is levelled with the speech around it, so that it is not turned up to noise; a part that is quieter for
    longer is turned up by itself.

    Args:
        peaks: of each frame, shape (T,).

    Returns:
        Shape (T,) each. Where something may be a bang, or the only word, a second with it left out: speech may be heard
        at either level.
    """
    count = max(1, len(peaks) // STRETCH_FRAMES)
    bounds = [*range(0, count * STRETCH_FRAMES, STRETCH_FRAMES), len(peaks)]
    loudest, lasting = [], []
    for stretch in range(count):
        near = np.sort(peaks[bounds[max(stretch - 1, 0)] : bounds[min(stretch + 2, count)]])[::-1]
        loud = max(QUIETEST, near.max(initial=0))
        held = max(QUIETEST, near[BANG_FRAMES - 1]) if len(near) >= BANG_FRAMES else loud
        loudest.append(loud)
        lasting.append(held if loud > BANG * held else loud)
    middles = [(begin + end) / 2 for begin, end in pairwise(bounds)]
    levels = [loudest] if loudest == lasting else [loudest, lasting]
    return [np.exp(np.interp(np.arange(len(peaks)), middles, np.log(level))).astype(np.float32) for level in levels]


def _detect(frames: Floats, level: Floats) -> Floats:
    """Probability of speech in frames, (T,), once a level is brought to PEAK."""
    from faster_whisper.vad import get_vad_model

    if not len(frames):
        return np.zeros(0, np.float32)
    own = np.abs(frames).max(axis=1)
    levelled = frames * (PEAK / np.maximum(level, own))[:, None]  # a bang is turned down to the rest
    return np.asarray(get_vad_model()(levelled.reshape(-1)), np.float32).reshape(-1)

"""How a face moves over time: expression, speech, blinks and small motions of the head."""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d
from scipy.signal import lfilter

from mse.demo import warp

Floats = npt.NDArray[np.float64]

_ONSET_S = 0.12  # time constant with which an expression comes and goes
_FLICKER, _FLICKER_S = 0.05, 0.15  # of the expression: standard deviation, width in time
_BROW_SHARE = 0.8  # of the face component; the smile takes all of it
_JAW_S = 0.03  # smoothing of the loudness that the jaw follows
_BLINK_EVERY_S = 2.5
_BLINK = (0.5, 1.0, 1.0, 0.7, 0.3)  # of the way shut, in the middle of each 40 ms
_HEAD = {"shift_x": 1.2, "shift_y": 0.8, "roll": 1.5, "zoom": 0.8}  # standard deviations in warp's units
_HEAD_S = 0.5  # smoothing of the head's motion


def animate(face: Floats, loudness: Floats, rate_hz: int, rng: np.random.Generator) -> Floats:
    """Animation parameters of every frame of a video.

    Args:
        face: the face component wanted at each frame, shape (T,); 0 between clips.
        loudness: of the speech at each frame, relative to the clip's loudest, shape (T,).
        rate_hz: frames a second.
        rng: the source of blinks, flicker and head motion.

    Returns:
        Shape (T, parameters), for Portrait.paint.
    """
    count = len(face)
    keep = np.exp(-1 / (_ONSET_S * rate_hz))
    expression = lfilter([1 - keep], [1, -keep], face)

    def wander(deviation: float, width_s: float) -> Floats:
        """Smooth noise of this standard deviation; cut from the middle of a longer run, free of its edges."""
        margin = int(8 * width_s * rate_hz)
        noise = gaussian_filter1d(rng.normal(size=count + 2 * margin), width_s * rate_hz)
        noise *= deviation * np.sqrt(2 * np.sqrt(np.pi) * width_s * rate_hz)  # the filter's loss of variance
        return noise[margin : margin + count]

    tracks = {
        "smile": expression + wander(_FLICKER, _FLICKER_S),
        "brow": _BROW_SHARE * expression + wander(_FLICKER, _FLICKER_S),
        "jaw": gaussian_filter1d(loudness, _JAW_S * rate_hz),
        "blink": _blinks(count, rate_hz, rng),
        **{name: wander(deviation, _HEAD_S) for name, deviation in _HEAD.items()},
    }
    return np.column_stack([tracks[name] for name in warp.PARAMETERS])


def _blinks(count: int, rate_hz: int, rng: np.random.Generator) -> Floats:
    """0 (eyes open) to 1 (shut) at each frame; blinks come at random."""
    starts = rng.random(count) < 1 / (_BLINK_EVERY_S * rate_hz)
    length = round(len(_BLINK) * 0.04 * rate_hz)
    shape = np.interp((np.arange(length) + 0.5) / rate_hz / 0.04 - 0.5, np.arange(len(_BLINK)), _BLINK)
    return np.convolve(starts, shape)[:count].clip(0, 1)

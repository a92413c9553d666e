"""Several sets of features of one clip, side by side on one clock."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float32]


def side_by_side(parts: Sequence[Frames], rates_hz: Sequence[float]) -> Frames:
    """Join sets of features on the clock of the fastest; a slower set's frames are held for as long as they last.

    Sets of one clip may end a frame apart: the last frame is held for one more. One frame alone, as functionals of a
    whole clip are, is held throughout.

    Args:
        parts: for each set its frames, shape (T_i, D_i); T_i = 0 where the clip lacks the set.
        rates_hz: frames a second of each set; frame t begins t / rate seconds after the clip's start.

    Returns:
        Shape (T, sum of D_i), NaN where a set is unknown; T = 0 where all are.
    """
    rate_hz = max(rates_hz)
    timed = [(part, rate) for part, rate in zip(parts, rates_hz, strict=True) if len(part) > 1]
    fastest_hz = max((rate for _, rate in timed), default=rate_hz)  # its length is the clip's to the finest grain
    spans = [len(part) / rate for part, rate in timed if rate == fastest_hz]
    frames = max((round(span * rate_hz) for span in spans), default=max(map(len, parts)))
    return np.concatenate(
        [_on_clock(part, rate / rate_hz, frames) for part, rate in zip(parts, rates_hz, strict=True)], 1
    )


def _on_clock(part: Frames, ratio: float, frames: int) -> Frames:
    if not len(part):
        return np.full((frames, part.shape[1]), np.nan, np.float32)
    # The small offset keeps frames that begin together from slipping into the one before.
    place = np.floor(np.arange(frames) * ratio + 1e-6).astype(np.int64)  # (T,)
    known = (place <= len(part)) | (len(part) == 1)
    held = part[np.minimum(place, len(part) - 1)]
    return np.where(known[:, None], held, np.float32(np.nan))

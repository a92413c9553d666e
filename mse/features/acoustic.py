"""openSMILE's descriptors at an even, lower rate, or their functionals over windows."""

import warnings

import numpy as np
import numpy.typing as npt
import opensmile

from mse.config import OpenSmileSettings
from mse.media import SAMPLE_RATE_HZ

OPENSMILE_RATE_HZ = 100.0  # every set has a hop of 10 ms
WHOLE_CLIP_HZ = 0.001  # of one frame a clip: slower than any other set, so that it never sets the clock


class OpenSmileExtractor:
    """A feature set: descriptors averaged down to `rate_hz`, or functionals of windows around each frame.

    Args:
        settings: feature set, level, rate and window.
    """

    def __init__(self, settings: OpenSmileSettings) -> None:
        self._window_s = settings.window_s
        self._functionals = settings.level == "functionals"
        self.rate_hz = min(settings.rate_hz, OPENSMILE_RATE_HZ)
        if self._functionals and self._window_s is None:
            self.rate_hz = WHOLE_CLIP_HZ
        levels = opensmile.FeatureLevel
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet[settings.feature_set],
            feature_level=levels.Functionals if self._functionals else levels.LowLevelDescriptors,
        )
        self.feature_names: list[str] = list(self._smile.feature_names)

    def __call__(self, samples: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Describe a clip's sound.

        Args:
            samples: shape (N,), mono, 16 kHz, int16.

        Returns:
            values (T, D) float32, NaN where openSMILE gave no finite number, and valid (T,); T may be 0. Functionals of
            the whole clip are one frame.
        """
        if not self._functionals:
            return average_down(self._described(samples), OPENSMILE_RATE_HZ, self.rate_hz)
        values = [row for window in self._windows(samples) for row in self._described(window)]
        rows = np.array(values, np.float32).reshape(-1, len(self.feature_names))
        return rows, np.asarray(np.isfinite(rows).all(axis=1))

    def _windows(self, samples: npt.NDArray[np.int16]) -> list[npt.NDArray[np.int16]]:
        """Sound around the middle of each frame, less at the clip's ends."""
        if self._window_s is None:
            return [samples]
        frames = int(np.ceil(len(samples) / SAMPLE_RATE_HZ * self.rate_hz - 1e-6))
        half_s = self._window_s / 2
        middles_s = (np.arange(frames) + 0.5) / self.rate_hz
        edges = [(max(0.0, middle - half_s), middle + half_s) for middle in middles_s]
        return [samples[round(a * SAMPLE_RATE_HZ) : round(b * SAMPLE_RATE_HZ)] for a, b in edges]

    def _described(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """What openSMILE gives: shape (T, D), one row for functionals."""
        signal = samples.astype(np.float32) / 32768
        with warnings.catch_warnings():  # "Segment too short": the caller sees no frame, or NaN
            warnings.simplefilter("ignore", UserWarning)
            return np.asarray(self._smile.process_signal(signal, SAMPLE_RATE_HZ).to_numpy(np.float32))


def average_down(
    values: npt.NDArray[np.float32], from_hz: float, to_hz: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Mean over the frames that begin within each longer frame, leaving out numbers that are not finite.

    Args:
        values: shape (T, D) at from_hz.
        from_hz: rate of the values.
        to_hz: rate wanted, at most from_hz.

    Returns:
        means (T', D), NaN where nothing was finite, and valid (T',), True where no mean is NaN.
    """
    if not len(values):
        return values, np.zeros(0, bool)
    # The small offset keeps frames that fall on a border from slipping into the frame before it.
    frame = np.floor(np.arange(len(values)) * (to_hz / from_hz) + 1e-6).astype(np.int64)  # (T,)
    finite = np.isfinite(values)
    sums = np.zeros((frame[-1] + 1, values.shape[1]), np.float64)
    counts = np.zeros_like(sums)
    np.add.at(sums, frame, np.where(finite, values, 0))
    np.add.at(counts, frame, finite)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32)
    valid = np.asarray(np.isfinite(means).all(axis=1))
    return means, valid

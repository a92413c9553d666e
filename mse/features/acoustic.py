"""openSMILE low-level descriptors at an even, lower rate."""

import warnings

import numpy as np
import numpy.typing as npt
import opensmile

from mse.config import AcousticSettings
from mse.media import SAMPLE_RATE_HZ

OPENSMILE_RATE_HZ = 100.0  # every set that is offered has a hop of 10 ms


class AcousticExtractor:
    """Descriptors of a feature set, averaged down to `rate_hz`.

    Args:
        settings: feature set and rate.
    """

    def __init__(self, settings: AcousticSettings) -> None:
        self.rate_hz = min(settings.rate_hz, OPENSMILE_RATE_HZ)
        self._smile = opensmile.Smile(
            feature_set=opensmile.FeatureSet[settings.feature_set],
            feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
        )
        self.feature_names: list[str] = list(self._smile.feature_names)

    def __call__(self, samples: npt.NDArray[np.int16]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Describe a clip's sound.

        Args:
            samples: shape (N,), mono, 16 kHz, int16.

        Returns:
            values (T, D) float32, NaN where openSMILE gave no finite number, and valid (T,); T may be 0.
        """
        signal = samples.astype(np.float32) / 32768
        with warnings.catch_warnings():  # "Segment too short": the caller sees zero frames
            warnings.simplefilter("ignore", UserWarning)
            descriptors = self._smile.process_signal(signal, SAMPLE_RATE_HZ).to_numpy(np.float32)  # (T100, D)
        return average_down(descriptors, OPENSMILE_RATE_HZ, self.rate_hz)


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

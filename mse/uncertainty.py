"""How far a row of a table would move with other clips: bootstrap intervals, and paired tests between rows.

Clips are drawn again, with replacement; the runs (seeds) of a row stay as they are. So an interval speaks of clips
that were not tested, not of seeds that were not trained.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mse.metrics import Values

Draws = npt.NDArray[np.int64]  # clips of each resample as places in the table, (S, N)

MOST_UNDEFINED = 0.05  # share of resamples without a value beyond which an interval has none either
TAILS = (0.025, 0.975)  # of a 95 % interval
ROUNDING = 1e-12  # differences of metrics that differ by less are equal


@dataclass(frozen=True)
class Difference:
    """One row minus another; all NaN where undefined.

    Attributes:
        difference: of the metric.
        low: lower end of its 95 % interval.
        high: upper end.
        p: two-sided p value of the difference being 0.
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Bootstrapped:
    """The metrics of a row, and what they become when clips are drawn again.

    Attributes:
        value: each metric, as the mean over the row's runs.
        samples: the same on each resample, (S,); NaN where a run has none.
    """

    value: dict[str, float]
    samples: dict[str, Values]

    def interval(self, name: str) -> tuple[float, float]:
        """Percentile interval (95 %) of a metric; NaN where more than 5 % of the resamples have no value."""
        return _interval(self.value[name], self.samples[name])


def resamples(clips: int, samples: int, seed: int) -> Draws:
    """Draws of clips with replacement; rows that share them are paired.

    Args:
        clips: how many clips the table has (N), at least 1.
        samples: how many resamples (S).
        seed: the same seed gives the same draws.

    Returns:
        Places of clips, shape (S, N).
    """
    return np.random.default_rng(seed).integers(0, clips, (samples, clips))


def bootstrap(
    metrics: Callable[[Values, Values], Mapping[str, float]], runs: Sequence[Values], truth: Values, draws: Draws
) -> Bootstrapped:
    """Compute the metrics of a row on all its clips, and on every resample of them.

    Args:
        metrics: such as Scorer.metrics: predictions and truth, each (N,), to numbers by name.
        runs: predictions of one or several runs (seeds) for the same clips, each (N,).
        truth: labels as numbers, (N,).
        draws: clips of each resample, (S, N), the same for all runs, and for all rows that are to be compared.

    Returns:
        Means over the runs; a metric that a run lacks is NaN.
    """

    def mean(clips: npt.NDArray[np.int64]) -> dict[str, float]:
        each = [metrics(run[clips], truth[clips]) for run in runs]
        return {name: sum(row[name] for row in each) / len(each) for name in each[0]}

    value = mean(np.arange(len(truth)))
    resampled = [mean(clips) for clips in draws]
    return Bootstrapped(value, {name: np.array([row[name] for row in resampled]) for name in value})


def compare(a: Bootstrapped, b: Bootstrapped, name: str) -> Difference:
    """Row a minus row b in one metric: a paired bootstrap over clips.

    The p value is by the shift method: resampled differences, moved to the mean that no difference would have, are
    counted where they are at least as far from 0 as the one found (Efron and Tibshirani 1993, chapter 16).

    Args:
        a: a row.
        b: another, bootstrapped with the same draws.
        name: of the metric.

    Returns:
        The difference, its 95 % interval and p = (1 + those counted) / (1 + resamples).
    """
    difference, samples = a.value[name] - b.value[name], a.samples[name] - b.samples[name]
    low, high = _interval(difference, samples)
    if math.isnan(low):
        return Difference(difference, low, high, math.nan)
    defined = samples[~np.isnan(samples)]
    as_far = np.abs(defined - difference) >= abs(difference) - ROUNDING
    return Difference(difference, low, high, float((1 + as_far.sum()) / (1 + len(defined))))


def _interval(value: float, samples: Values) -> tuple[float, float]:
    if math.isnan(value) or np.isnan(samples).mean() > MOST_UNDEFINED:
        return math.nan, math.nan
    low, high = np.nanquantile(samples, TAILS)
    return float(low), float(high)

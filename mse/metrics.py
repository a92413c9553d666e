"""The metrics of the field, exactly as the paper's evaluation defines them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import f1_score

Values = npt.NDArray[np.float64]


def mosei(prediction: Values, truth: Values) -> dict[str, float]:
    """Metrics of CMU-MOSI and CMU-MOSEI (paper, "Metrics"); NumPy's round goes to even.

    Args:
        prediction: intensities in [-3, 3], shape (N,).
        truth: the same.

    Returns:
        mae; corr (Pearson; NaN where either does not vary); acc7 and acc5 (equal after rounding and clipping to
        +-3 and +-2); has0_acc2, has0_f1 (negative against the rest, weighted F1); non0_acc2, non0_f1 (negative
        against positive where the truth is not 0).
    """
    p, y = np.asarray(prediction, np.float64), np.asarray(truth, np.float64)
    nonzero = y != 0
    return {
        "mae": float(np.abs(p - y).mean()),
        "corr": pearson(p, y),
        "acc7": _rounded_accuracy(p, y, 3),
        "acc5": _rounded_accuracy(p, y, 2),
        "has0_acc2": float(((p >= 0) == (y >= 0)).mean()),
        "has0_f1": weighted_f1(p >= 0, y >= 0),
        "non0_acc2": float(((p > 0) == (y > 0))[nonzero].mean()) if nonzero.any() else float("nan"),
        "non0_f1": weighted_f1((p > 0)[nonzero], (y > 0)[nonzero]) if nonzero.any() else float("nan"),
    }


def _rounded_accuracy(p: Values, y: Values, limit: float) -> float:
    return float((np.round(np.clip(p, -limit, limit)) == np.round(np.clip(y, -limit, limit))).mean())


def pearson(a: Values, b: Values) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def weighted_f1(prediction: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """F1 of each class, averaged with the classes' shares of the truth as weights."""
    return float(f1_score(truth, prediction, average="weighted", zero_division=0.0))


METRICS: dict[str, Callable[[Values, Values], dict[str, float]]] = {"mosei": mosei}

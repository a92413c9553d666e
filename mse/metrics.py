"""The metrics of the field, exactly as the paper's evaluation defines them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mse.config import Classes, Task

Values = npt.NDArray[np.float64]
LESS_IS_BETTER = {"mae"}  # of all other metrics more is


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
        "non0_f1": weighted_f1((p > 0)[nonzero], (y > 0)[nonzero]),
    }


def sims(prediction: Values, truth: Values) -> dict[str, float]:
    """Metrics of CH-SIMS and CH-SIMS v2 (paper, "Metrics"); both sides are clipped to [-1, 1].

    Args:
        prediction: intensities, shape (N,).
        truth: the same.

    Returns:
        acc2 and its weighted F1 f1 (up to 0 against above); acc2_weak (acc2 where the truth is at most 0.4 from
        0); acc3 and acc5 (between the cuts, each interval closed on the right); mae; corr (Pearson); r2 (share of
        the truth's variance that is explained, at most 1; NaN where the truth does not vary).
    """
    p, y = (np.clip(np.asarray(side, np.float64), -1, 1) for side in (prediction, truth))
    weak = np.abs(y) <= 0.4
    residual, total = float(((y - p) ** 2).sum()), float(((y - y.mean()) ** 2).sum())
    return {
        "acc2": float(((p > 0) == (y > 0)).mean()),
        "acc2_weak": float(((p > 0) == (y > 0))[weak].mean()) if weak.any() else float("nan"),
        "acc3": _binned_accuracy(p, y, [-0.1, 0.1]),
        "acc5": _binned_accuracy(p, y, [-0.7, -0.1, 0.1, 0.7]),
        "f1": weighted_f1(p > 0, y > 0),
        "mae": float(np.abs(p - y).mean()),
        "corr": pearson(p, y),
        "r2": 1 - residual / total if total > 0 else float("nan"),
    }


def classes(prediction: Values, truth: Values, names: Sequence[str]) -> dict[str, float]:
    """Metrics of classification (paper, "Metrics", MELD, CHERMA, IEMOCAP).

    Args:
        prediction: each clip's class as its place in the order, NaN for an answer that is no class, shape (N,).
        truth: the same, without NaN.
        names: the classes in order.

    Returns:
        accuracy; weighted_f1 and macro_f1 (over the classes of the truth; NaN answers count as wrong); f1_CLASS.
    """
    p = np.nan_to_num(np.asarray(prediction, np.float64), nan=-1).astype(np.int64)
    y = np.asarray(truth, np.float64).astype(np.int64)
    each, support = _f1(p, y, len(names))
    return {
        "accuracy": float((p == y).mean()),
        "weighted_f1": float((each * support).sum() / support.sum()),
        "macro_f1": float(each[support > 0].mean()),
    } | {f"f1_{name}": float(score) for name, score in zip(names, each, strict=True)}


def _binned_accuracy(p: Values, y: Values, cuts: Sequence[float]) -> float:
    return float((np.digitize(p, cuts, right=True) == np.digitize(y, cuts, right=True)).mean())


def _rounded_accuracy(p: Values, y: Values, limit: float) -> float:
    return float((np.round(np.clip(p, -limit, limit)) == np.round(np.clip(y, -limit, limit))).mean())


def pearson(a: Values, b: Values) -> float:
    """Pearson's correlation; NaN where one side does not vary."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def weighted_f1(prediction: npt.NDArray[Any], truth: npt.NDArray[Any]) -> float:
    """F1 of each class, averaged with the classes' shares of the truth as weights; NaN without any clip.

    Args:
        prediction: each clip's class as a whole number (-1 for none) or as a truth value, shape (N,).
        truth: the same, without -1.
    """
    if not len(truth):
        return float("nan")
    p, y = np.asarray(prediction).astype(np.int64), np.asarray(truth).astype(np.int64)
    each, support = _f1(p, y, int(max(p.max(), y.max())) + 1)
    return float((each * support).sum() / support.sum())


def _f1(p: npt.NDArray[np.int64], y: npt.NDArray[np.int64], count: int) -> tuple[Values, npt.NDArray[np.int64]]:
    """F1 of each of `count` classes, 0 for one that occurs nowhere, and how often the truth has it: both (count,).

    Counted here rather than by scikit-learn, whose checks of its input take far longer than counting: a bootstrap
    computes this thousands of times.
    """
    right, predicted, support = (np.bincount(which, minlength=count) for which in (y[p == y], p[p >= 0], y))
    return 2 * right / np.maximum(predicted + support, 1), support


REGRESSION: dict[str, Callable[[Values, Values], dict[str, float]]] = {"mosei": mosei, "sims": sims}


class Scorer:
    """The metrics of a task, and what stands in for an answer that is no legal label.

    Args:
        task: what is predicted.
        train_labels: of the training clips: their mean stands in (intensity), their commonest is the class to beat.
    """

    def __init__(self, task: Task, train_labels: Values) -> None:
        self.task = task
        if isinstance(task, Classes):
            self.constant = float(np.bincount(train_labels.astype(np.int64)).argmax())
            self.constant_name = f"always {task.names[int(self.constant)]}"
            self.unparseable_as = "wrong"
        else:
            self.constant = float(train_labels.mean())
            self.constant_name = f"training mean {self.constant:.3f}"
            self.unparseable_as = self.constant_name

    def metrics(self, prediction: Values, truth: Values) -> dict[str, float]:
        """All metrics.

        Args:
            prediction: labels as numbers, NaN for an answer that is no legal label, shape (N,).
            truth: labels as numbers, shape (N,).
        """
        if isinstance(self.task, Classes):
            return classes(prediction, truth, self.task.names)
        return REGRESSION[self.task.metrics](np.where(np.isnan(prediction), self.constant, prediction), truth)

    def gain(self, metrics: Mapping[str, float]) -> float:
        """The task's key metric, turned so that more is better; what is undefined is worst."""
        value = metrics[self.task.key_metric]
        return -math.inf if math.isnan(value) else -value if self.task.key_metric in LESS_IS_BETTER else value

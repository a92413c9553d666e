"""Metrics against values worked out by hand, at the edges too."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from mse.metrics import mosei


def test_edges_by_hand() -> None:
    # rounding to even: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2, -0.5 -> -0
    truth = np.array([0.5, 1.5, 2.5, -0.5, 0.0, 3.0])
    prediction = np.array([0.0, 2.0, 2.0, 0.0, -0.1, 2.4])
    got = mosei(prediction, truth)
    assert got["mae"] == pytest.approx((0.5 + 0.5 + 0.5 + 0.5 + 0.1 + 0.6) / 6)
    assert got["acc7"] == pytest.approx(5 / 6)  # 2.4 rounds to 2, 3.0 stays 3
    assert got["acc5"] == 1.0  # clipped to 2, they agree
    # p >= 0: T T T T F T against y >= 0: T T T F T T
    assert got["has0_acc2"] == pytest.approx(4 / 6)
    # without y = 0: p > 0: F T T F T against y > 0: T T T F T
    assert got["non0_acc2"] == pytest.approx(4 / 5)
    assert got["non0_f1"] == pytest.approx(4 / 5 * (6 / 7) + 1 / 5 * (2 / 3))


def test_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-3, 3, 500).round(1)
    prediction = np.clip(truth + rng.normal(0, 1, 500), -3, 3)
    got = mosei(prediction, truth)
    seven = [np.round(np.clip(v, -3, 3)).astype(int) for v in (truth, prediction)]
    assert got["acc7"] == accuracy_score(*seven)
    assert got["has0_f1"] == f1_score(truth >= 0, prediction >= 0, average="weighted")
    assert got["corr"] == pytest.approx(np.corrcoef(prediction, truth)[0, 1])


def test_constant_has_no_correlation() -> None:
    got = mosei(np.full(4, 0.3), np.array([-1.0, 0.0, 1.0, 2.0]))
    assert math.isnan(got["corr"])
    assert math.isnan(mosei(np.zeros(2), np.zeros(2))["non0_acc2"])

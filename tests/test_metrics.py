"""Metrics against values worked out by hand, at the edges too."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, r2_score

from mse.config import Classes, Intensity
from mse.metrics import Scorer, classes, mosei, sims, weighted_f1


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


def test_sims_at_the_edges_by_hand() -> None:
    truth = np.array([-0.8, -0.7, -0.4, -0.1, 0.0, 0.1, 0.4, 0.7, 1.0])
    prediction = np.array([-1.5, -0.6, -0.1, 0.0, 0.1, 0.1, 0.5, 0.8, 2.0])
    got = sims(prediction, truth)
    # up to 0 against above: truth F F F F F T T T T, prediction F F F F T T T T T
    assert got["acc2"] == pytest.approx(8 / 9)
    assert got["acc2_weak"] == pytest.approx(4 / 5)  # |truth| <= 0.4: five clips, one wrong
    # cuts at -0.1 and 0.1, closed on the right: 0 0 0 0 1 1 2 2 2 against 0 0 0 1 1 1 2 2 2
    assert got["acc3"] == pytest.approx(8 / 9)
    # and at -0.7 and 0.7 too: 0 0 1 1 2 2 3 3 4 against 0 1 1 2 2 2 3 4 4
    assert got["acc5"] == pytest.approx(6 / 9)
    assert got["mae"] == pytest.approx((0.2 + 0.1 + 0.3 + 0.1 + 0.1 + 0 + 0.1 + 0.1 + 0) / 9)  # clipped to [-1, 1]
    clipped = np.clip(prediction, -1, 1)
    assert got["r2"] == pytest.approx(r2_score(truth, clipped))
    assert got["f1"] == pytest.approx(f1_score(truth > 0, clipped > 0, average="weighted"))


def test_classes_by_hand_and_by_scikit_learn() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2], float)
    prediction = np.array([0, 0, 1, 1, np.nan, 0], float)
    got = classes(prediction, truth, ["a", "b", "c", "d"])
    assert got["accuracy"] == pytest.approx(3 / 6)
    assert got["f1_a"] == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))
    assert got["f1_b"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))  # the unreadable answer is a miss
    assert got["f1_c"] == got["f1_d"] == 0
    assert got["weighted_f1"] == pytest.approx((3 * 2 / 3 + 2 * 0.5) / 6)
    assert got["macro_f1"] == pytest.approx((2 / 3 + 0.5 + 0) / 3)  # of the classes that occur
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 4, (2, 300)).astype(float)
    got = classes(prediction, truth, ["a", "b", "c", "d"])
    assert got["weighted_f1"] == pytest.approx(f1_score(truth, prediction, average="weighted"))
    assert got["macro_f1"] == pytest.approx(f1_score(truth, prediction, average="macro"))


@pytest.mark.parametrize("seed", range(60))
def test_f1_is_that_of_scikit_learn_whatever_occurs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, count = int(rng.integers(1, 40)), int(rng.integers(1, 8))
    in_truth, in_prediction = (rng.permutation(count)[: rng.integers(1, count + 1)] for _ in range(2))
    truth, prediction = rng.choice(in_truth, n).astype(float), rng.choice(in_prediction, n).astype(float)
    prediction[rng.random(n) < rng.choice([0, 0.2, 1])] = np.nan
    names = [f"c{place}" for place in range(count)]
    got = classes(prediction, truth, names)
    y, p, known = truth.astype(int), np.nan_to_num(prediction, nan=-1).astype(int), {"zero_division": 0.0}
    assert got["accuracy"] == pytest.approx(accuracy_score(y, p))
    assert got["weighted_f1"] == pytest.approx(f1_score(y, p, labels=range(count), average="weighted", **known))
    assert got["weighted_f1"] == pytest.approx(weighted_f1(p, y))
    assert got["macro_f1"] == pytest.approx(f1_score(y, p, labels=np.unique(y), average="macro", **known))
    each = f1_score(y, p, labels=range(count), average=None, **known)
    assert [got[f"f1_{name}"] for name in names] == pytest.approx(each.tolist())


@pytest.mark.parametrize("seed", range(30))
def test_f1_of_intensities_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.uniform(-1, 1, 2))  # often one sign alone
    truth, prediction = (rng.uniform(low, high, rng.integers(2, 30)).round(1) for _ in range(2))
    n = min(len(truth), len(prediction))
    truth, prediction = truth[:n], prediction[:n]
    known = {"average": "weighted", "zero_division": 0.0}
    got = mosei(prediction, truth)
    assert got["has0_f1"] == pytest.approx(f1_score(truth >= 0, prediction >= 0, **known))
    some = truth != 0
    if some.any():
        assert got["non0_f1"] == pytest.approx(f1_score(truth[some] > 0, prediction[some] > 0, **known))
    else:
        assert math.isnan(got["non0_f1"])
    assert sims(prediction, truth)["f1"] == pytest.approx(f1_score(truth > 0, prediction > 0, **known))


def test_f1_of_no_clip_is_undefined() -> None:
    assert math.isnan(weighted_f1(np.zeros(0, bool), np.zeros(0, bool)))
    assert math.isnan(mosei(np.array([1.0, -1.0]), np.zeros(2))["non0_f1"])


def test_scorer_stands_in_for_unreadable_answers() -> None:
    numbers = Scorer(Intensity(), np.array([1.0, 2.0]))
    assert numbers.metrics(np.array([np.nan, 1.0]), np.array([1.5, 1.0]))["mae"] == 0
    assert numbers.gain({"mae": 0.5}) > numbers.gain({"mae": 0.6}) > numbers.gain({"mae": math.nan})
    named = Scorer(Classes(classes={"a": ["1"], "b": ["2"]}), np.array([1.0, 1.0, 0.0]))
    assert (named.constant, named.constant_name, named.unparseable_as) == (1.0, "always b", "wrong")
    assert named.gain({"weighted_f1": 0.6}) > named.gain({"weighted_f1": 0.5})

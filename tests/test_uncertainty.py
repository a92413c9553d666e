"""Bootstrap intervals and paired tests on simulated clips, where the truth about them is known."""

import math

import numpy as np
import pytest

from mse.config import Intensity
from mse.metrics import Scorer, Values, mosei
from mse.uncertainty import Bootstrapped, Difference, bootstrap, compare, resamples

SIMULATIONS = 300
CLIPS = 80
DRAWS = resamples(CLIPS, 400, 0)


def mae(prediction: Values, truth: Values) -> dict[str, float]:
    return {"mae": float(np.abs(prediction - truth).mean())}


def noisy(rng: np.random.Generator, truth: Values, *spreads: float) -> list[Values]:
    """A run for each spread of its errors."""
    return [truth + rng.normal(0, spread, len(truth)) for spread in spreads]


def test_intervals_cover_what_they_promise() -> None:
    rng = np.random.default_rng(1)
    expected = (0.5 + 0.7) / 2 * math.sqrt(2 / math.pi)  # mean of |normal|, over a row of two runs
    covered = []
    for _ in range(SIMULATIONS):
        truth = rng.uniform(-3, 3, CLIPS)
        low, high = bootstrap(mae, noisy(rng, truth, 0.5, 0.7), truth, DRAWS).interval("mae")
        covered.append(low <= expected <= high)
    assert 0.90 <= np.mean(covered) <= 0.98


def test_p_is_uniform_when_rows_are_alike() -> None:
    rng = np.random.default_rng(2)
    p, covered = [], []
    for _ in range(SIMULATIONS):
        truth = rng.uniform(-3, 3, CLIPS)
        a, b = (bootstrap(mae, noisy(rng, truth, 0.6), truth, DRAWS) for _ in range(2))
        found = compare(a, b, "mae")
        p.append(found.p)
        covered.append(found.low <= 0 <= found.high)
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.10
    assert 0.40 <= np.mean(np.array(p) < 0.5) <= 0.60
    assert 0.90 <= np.mean(covered) <= 0.99


def test_pairing_tells_a_clearly_better_row() -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(-3, 3, CLIPS)
    shared = rng.normal(0, 2, CLIPS)  # errors that both rows make: they widen intervals, not the paired difference
    better = [truth + shared * 0.9 for _ in range(3)]
    a, b = bootstrap(mae, better, truth, DRAWS), bootstrap(mae, [truth + shared], truth, DRAWS)
    assert a.interval("mae")[1] > b.interval("mae")[0]  # the intervals overlap
    found = compare(a, b, "mae")
    assert found.difference == pytest.approx(-0.1 * np.abs(shared).mean())
    assert found.low < found.difference < found.high < 0
    assert found.p == pytest.approx(1 / 401)  # the least that 400 resamples can say
    back = compare(b, a, "mae")
    assert (back.difference, back.p) == (-found.difference, found.p)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_a_row_against_itself_has_no_difference() -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(-3, 3, 30).round(1)
    row = bootstrap(mosei, noisy(rng, truth, 0.5, 1.0), truth, resamples(30, 100, 0))
    for name in row.value:
        assert compare(row, row, name) == Difference(0.0, 0.0, 0.0, 1.0)


def test_a_row_is_the_mean_of_its_runs_on_the_same_clips() -> None:
    rng = np.random.default_rng(5)
    truth = rng.uniform(-3, 3, 40)
    runs, draws = noisy(rng, truth, 0.3, 0.6, 0.9), resamples(40, 50, 7)
    row, alone = bootstrap(mosei, runs, truth, draws), [bootstrap(mosei, [run], truth, draws) for run in runs]
    for name, value in row.value.items():
        assert value == pytest.approx(np.mean([mosei(run, truth)[name] for run in runs]))
        np.testing.assert_allclose(row.samples[name], np.mean([one.samples[name] for one in alone], axis=0))
    low, high = row.interval("mae")
    assert (low, high) == pytest.approx(tuple(np.quantile(row.samples["mae"], [0.025, 0.975])))


def test_same_seed_same_numbers() -> None:
    first, second, other = resamples(20, 30, 1), resamples(20, 30, 1), resamples(20, 30, 2)
    assert first.shape == (30, 20) and first.min() >= 0 and first.max() < 20
    assert (first == second).all() and (first != other).any()
    rng = np.random.default_rng(6)
    truth = rng.uniform(-3, 3, 20)
    runs = noisy(rng, truth, 0.5)
    intervals = [bootstrap(mosei, runs, truth, draws).interval("corr") for draws in (first, second, other)]
    assert intervals[0] == intervals[1] != intervals[2]


def test_what_is_undefined_is_nan() -> None:
    rng = np.random.default_rng(7)
    truth = rng.uniform(-3, 3, 20)
    draws = resamples(20, 100, 0)
    scorer = Scorer(Intensity(), truth)
    row = bootstrap(scorer.metrics, noisy(rng, truth, 0.5), truth, draws)
    constant = bootstrap(scorer.metrics, [np.full(20, np.nan)], truth, draws)
    assert np.isnan(constant.interval("corr")).all()
    found = compare(row, constant, "corr")
    assert np.isnan([found.difference, found.low, found.high, found.p]).all()
    assert compare(row, constant, "mae").p < 0.05


@pytest.mark.parametrize(("undefined", "defined"), [(5, True), (6, False)])
def test_a_few_undefined_resamples_are_left_out(undefined: int, defined: bool) -> None:
    samples = np.linspace(0.0, 1.0, 100)
    samples[:undefined] = np.nan
    row = Bootstrapped({"corr": 0.5}, {"corr": samples})
    zero = Bootstrapped({"corr": 0.0}, {"corr": np.zeros(100)})
    assert np.isfinite(row.interval("corr")).all() == defined
    assert np.isfinite(compare(row, zero, "corr").p) == defined
    if defined:
        assert row.interval("corr") == pytest.approx(tuple(np.nanquantile(samples, [0.025, 0.975])))


def test_ties_count_whatever_their_rounding() -> None:
    a = Bootstrapped({"acc": 0.3}, {"acc": np.array([0.4, 0.2])})  # differences 0.2 and 0.0, both 0.1 from 0.1
    b = Bootstrapped({"acc": 0.2}, {"acc": np.array([0.2, 0.2])})
    assert compare(a, b, "acc").p == 1.0

"""Statistics of trials and of scores: exact answers first, then second implementations."""

import warnings

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import UserError
from bridge.evaluation.stats import (
    Resampled,
    estimate,
    interval,
    mean_interval,
    seed_interval,
    stratified_interval,
    wilson,
)
from tests.bridge.studies import cvar, seeded

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from rliable import metrics as rliable_metrics


# ---- trials ----


@seeded
def test_mean_interval_is_the_t_interval_of_the_raw_trials(rng: np.random.Generator) -> None:
    x = rng.normal(rng.normal(), 2.0, size=rng.integers(2, 50))
    found = mean_interval(float(x.sum()), float((x**2).sum()), len(x))
    expected = scipy.stats.t.interval(0.95, len(x) - 1, loc=x.mean(), scale=scipy.stats.sem(x))
    np.testing.assert_allclose(found[:3], (x.mean(), *expected), rtol=1e-9, atol=1e-9)
    assert found[3:] == (len(x), "trials")


def test_mean_interval_forms_the_spread_exactly() -> None:
    a = 6e7  # both sums are exact in float64, the square of the first is not
    found = mean_interval(2 * a + 1, a**2 + (a + 1) ** 2, 2)
    assert found.high - found.mean == pytest.approx(12.706204736432095 / 2, rel=1e-8)


@given(st.floats(1e-6, 1e6), st.integers(2, 1000))
def test_mean_interval_of_equal_trials_has_no_negative_variance(value: float, n: int) -> None:
    total, total_sq = float(np.full(n, value).sum()), float(np.full(n, value**2).sum())
    found = mean_interval(total, total_sq, n)
    assert found.low <= found.mean <= found.high
    assert found.high - found.low <= 1e-5 * abs(value)


def test_mean_interval_refuses_one_trial_and_impossible_sums() -> None:
    with pytest.raises(UserError, match=r"2 trials or more, found 1\. Run more"):
        mean_interval(1.0, 1.0, 1)
    with pytest.raises(UserError, match=r"at least total\^2 / n = 50, found 49"):
        mean_interval(10.0, 49.0, 2)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 1), (7, 10), (10, 10), (123, 1000)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    expected = scipy.stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    found = wilson(successes, n)
    np.testing.assert_allclose(found[:3], (successes / n, expected.low, expected.high), atol=1e-12)


def test_wilson_at_no_successes_in_closed_form() -> None:
    z2 = 3.841458820694124
    assert wilson(0, 10)[1:3] == pytest.approx((0.0, z2 / (10 + z2)))


@pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_wilson_refuses_what_cannot_be_counted(successes: int, n: int) -> None:
    with pytest.raises(UserError, match=f"found {successes} of {n}"):
        wilson(successes, n)


def test_seed_interval_by_hand() -> None:
    half = 12.706204736432095  # t with one degree of freedom, times a standard error of 1
    assert seed_interval(np.array([1.0, 3.0])) == pytest.approx(
        (2.0, 2 - half, 2 + half, 2, "t over seeds")
    )


def test_one_seed_is_sent_to_the_trials() -> None:
    with pytest.raises(UserError, match=r"found 1\..*mean_interval, wilson"):
        seed_interval(np.array([1.0]))


# ---- scores by hand ----


def test_normalised_is_a_ratio_of_means_and_is_not_clipped() -> None:
    floor, ceiling = np.array([0.0, 2.0]), np.array([2.0, 10.0])
    x = np.array([[1.0, 3.0], [6.0, 20.0], [0.0, 0.0]])
    for seed, expected in zip(x, (0.2, 2.4, -0.2), strict=True):
        assert estimate(Resampled.normalised, seed, floor, ceiling) == pytest.approx(expected)
    assert estimate(Resampled.normalised, x, floor, ceiling) == pytest.approx(0.8)
    ratios = (x[0] - floor) / (ceiling - floor)
    assert ratios.mean() == pytest.approx(0.3125)  # what it must not be


@pytest.mark.parametrize("ceiling", [[1.0, 1.0], [1.0, 0.5]])
def test_normalised_refuses_a_ceiling_that_is_not_above_the_floor(ceiling: list[float]) -> None:
    x, floor, top = np.ones((12, 2)), np.ones(2), np.array(ceiling)
    with pytest.raises(UserError, match=r"gap of (0|-0\.25)\. Use a split"):
        estimate(Resampled.normalised, x, floor, top)
    with pytest.raises(UserError, match="gap of"):
        interval(Resampled.normalised, x, floor, top)


def test_iqm_by_hand() -> None:
    assert estimate(
        Resampled.iqm, np.array([[9.0, 1.0, 3.0, 5.0], [2.0, 4.0, 6.0, -50.0]])
    ) == pytest.approx((2 + 3 + 4 + 5) / 4)


@pytest.mark.parametrize("rate", [0.1, 0.4, 0.5, 0.9])
def test_iqm_hides_failures_on_single_trials_and_refuses_them(rate: float) -> None:
    trials = (np.arange(1000) < 1000 * rate).astype(float)[None]
    assert scipy.stats.trim_mean(trials[0], 0.25) == pytest.approx(
        np.clip((rate - 0.25) / 0.5, 0, 1)
    )
    with pytest.raises(UserError, match=r"only 0s and 1s\. Report the mean"):
        estimate(Resampled.iqm, trials)
    with pytest.raises(UserError, match="only 0s and 1s"):
        interval(Resampled.iqm, trials)


@pytest.mark.parametrize(
    ("alpha", "expected"), [(0.25, 10.0), (0.375, 40 / 3), (0.5, 15.0), (0.1, 10.0), (1.0, 25.0)]
)
def test_cvar_by_hand_with_fractions_of_a_task(alpha: float, expected: float) -> None:
    choose, score = np.array([3.0, 1.0, 2.0, 4.0]), np.array([30.0, 10.0, 20.0, 40.0])
    assert cvar(choose, score, alpha) == pytest.approx(expected)


def test_cvar_lets_tied_tasks_share_the_tail() -> None:
    choose, score = np.array([0.0, 1.0, 0.0, 1.0]), np.array([10.0, 0.0, 20.0, 0.0])
    assert cvar(choose, score, 0.25) == pytest.approx(15.0)
    assert cvar(choose, score, 0.75) == pytest.approx(10.0)


def test_cvar_refuses_few_trials_and_odd_fractions() -> None:
    x = np.arange(10.0)
    with pytest.raises(UserError, match=r"64 trials per task .* found 63\. Evaluate more"):
        cvar(x, x, trials_per_task=63)
    assert cvar(x, x, trials_per_task=64) == 0.5
    for alpha in (0.0, 1.1):
        with pytest.raises(UserError, match=r"in \(0, 1\], found"):
            cvar(x, x, alpha)


def test_improvement_by_hand_with_ties() -> None:
    x, y = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 1.0], [3.0, 0.0]])
    first, second = (0.5 + 1 + 0 + 1 + 1 + 0) / 6, (0.5 + 0.5) / 6
    assert estimate(Resampled.improvement, x, y) == pytest.approx((first + second) / 2)


# ---- second implementations ----


@seeded
def test_scores_are_rliables(rng: np.random.Generator) -> None:
    T = int(rng.integers(1, 7))
    x, y = (rng.normal(size=(rng.integers(2, 6), T)).round(1) + 0.03 for _ in range(2))
    assert estimate(Resampled.iqm, x) == pytest.approx(rliable_metrics.aggregate_iqm(x))
    assert estimate(Resampled.improvement, x, y) == pytest.approx(
        rliable_metrics.probability_of_improvement(x, y)
    )


@seeded
def test_improvements_of_two_methods_sum_to_one(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(3, 5)).round(), rng.normal(size=(4, 5)).round()
    assert estimate(Resampled.improvement, x, y) + estimate(
        Resampled.improvement, y, x
    ) == pytest.approx(1)


def test_a_stratified_interval_is_that_of_the_mean_over_tasks():
    """By hand, and by the share of intervals that hold the truth where tasks have very unequal numbers of trials."""
    n, total, square = (np.array(x, float) for x in ([4, 2, 1], [8, 6, 100], [24, 20, 10_000]))
    found = stratified_interval(n, total, square)
    spread = (((24 / 4 - 4) / 3 + (20 / 2 - 9) / 1) ** 0.5) / 2
    assert found[:4] == pytest.approx((2.5, 2.5 - 1.959964 * spread, 2.5 + 1.959964 * spread, 6))
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        draws = [rng.normal(task, 1 + task, size) for task, size in enumerate((100, 40, 20))]
        sums = np.array([(len(x), x.sum(), (x**2).sum()) for x in draws]).T
        _, low, high, *_ = stratified_interval(*sums)
        held += low <= 1 <= high
    assert 0.91 < held / 400 < 0.98
    assert np.isnan(stratified_interval(*np.ones((3, 2))).mean)

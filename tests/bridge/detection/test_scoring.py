"""Scores of failure signals, with known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.detection.scoring import (
    auroc,
    auroc_within,
    excess_risk,
    false_alarms,
    risk_over_coverage,
    switched,
    threshold,
)

RNG = np.random.default_rng(0)
TRIALS = 2000
FAILED = RNG.random(TRIALS) < 0.3
TRIALS_LIST = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12)


def test_a_planted_failure_is_found():
    signal = FAILED + 0.01 * RNG.normal(size=TRIALS)
    assert auroc(signal, FAILED) == 1
    assert false_alarms(signal, FAILED) == 0


def test_an_ignorant_signal_is_a_coin():
    """Within three standard errors (Hanley & McNeil 1982: sqrt((n1 + n2 + 1) / (12 n1 n2)))."""
    failures, others = FAILED.sum(), (~FAILED).sum()
    error = ((failures + others + 1) / (12 * failures * others)) ** 0.5
    noise = RNG.normal(size=TRIALS)
    assert abs(auroc(noise, FAILED) - 0.5) < 3 * error
    assert false_alarms(noise, FAILED) == pytest.approx(0.95, abs=0.05)
    assert auroc(np.zeros(TRIALS), FAILED) == 0.5


@given(TRIALS_LIST)
def test_auroc_counts_pairs(trials):
    signal, failed = (np.array(x) for x in zip(*trials, strict=True))
    signal = signal.astype(float)
    pairs = [(s > o) + 0.5 * (s == o) for s in signal[failed] for o in signal[~failed]]
    expected = np.mean(pairs) if pairs else np.nan
    assert auroc(signal, failed) == pytest.approx(expected, nan_ok=True)


def test_false_alarms_by_hand():
    signal = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    failed = np.array([True, False, True, False, False])
    assert false_alarms(signal, failed, 1.0) == pytest.approx(1 / 3)
    assert false_alarms(signal, failed, 0.5) == 0
    assert np.isnan(false_alarms(signal, np.zeros(5, bool)))


def test_risk_over_coverage_by_hand():
    """Kept in the order of signals 1, 2, 3: losses 0, 3, 0 have means 0, 3/2, 1."""
    loss = np.array([0.0, 3.0, 0.0])
    assert risk_over_coverage(np.array([1.0, 2.0, 3.0]), loss) == pytest.approx(2.5 / 3)
    assert risk_over_coverage(np.zeros(3), loss) == pytest.approx(1)  # in random order
    assert excess_risk(loss, loss) == pytest.approx(0)
    assert excess_risk(np.array([1.0, 2.0, 3.0]), loss) == pytest.approx(2.5 / 3 - 1 / 3)


def test_the_order_of_ties_is_random_in_expectation():
    loss = RNG.random(6)
    signal = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 2.0])
    found = [risk_over_coverage(signal + 1e-6 * RNG.random(6), loss) for _ in range(4000)]
    error = np.std(found) / len(found) ** 0.5
    assert abs(risk_over_coverage(signal, loss) - np.mean(found)) < 3 * error


def test_a_switch_is_between_never_always_and_the_best():
    method, fallback = np.array([1.0, 0.0, 0.5]), np.array([0.2, 0.6, 0.5])
    found = switched(np.array([False, True, False]), method, fallback)
    assert found == pytest.approx((2.1 / 3, 1.5 / 3, 1.3 / 3, 2.1 / 3))
    assert found.gain == pytest.approx(0.2)
    assert found.regret == pytest.approx(0)
    wrong = switched(np.array([True, False, True]), method, fallback)
    assert wrong.gain < 0
    assert wrong.regret == pytest.approx(2.1 / 3 - 0.7 / 3)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.5])
def test_the_threshold_keeps_its_rate_of_false_alarms(rate):
    signal = np.round(RNG.normal(size=500), 1)
    limit = threshold(signal, rate)
    assert np.mean(signal > limit) <= rate
    below = signal[signal < limit].max()
    assert np.mean(signal > below) > rate


@pytest.mark.parametrize("trials", [20, 60, 256, 500])
def test_the_threshold_is_the_least_that_keeps_the_rate(trials):
    signal = RNG.permutation(trials).astype(float)
    limit = threshold(signal, 0.05)
    assert np.mean(signal > limit) <= 0.05
    assert np.mean(signal > limit - 1) > 0.05


def test_within_groups_pairs_of_one_group_count():
    signal, group = np.array([1.0, 2, 11, 12, 5]), np.array([0, 0, 1, 1, 2])
    failed = np.array([True, False, False, True, True])
    assert auroc_within(signal, failed, group) == 0.5
    assert auroc(signal, failed) == pytest.approx(3 / 6)
    assert np.isnan(auroc_within(signal, failed, np.arange(5)))


def test_within_one_group_it_is_auroc():
    noise = RNG.normal(size=TRIALS)
    assert auroc_within(noise, FAILED, np.zeros(TRIALS, int)) == pytest.approx(auroc(noise, FAILED))

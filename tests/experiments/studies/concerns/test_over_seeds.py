"""Intervals over seeds, whatever their number."""

import numpy as np
import pytest
from scipy import stats

from experiments.studies.concerns import over_seeds

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("seeds", [2, 5, 10, 40])
def test_tasks_that_differ_do_not_widen_an_interval(seeds) -> None:
    """Half of the tasks score 0 and half 1: only what differs by seed counts, from 10 seeds on, too."""
    values = np.tile([0.0, 1.0], (seeds, 5)) + 0.01 * RNG.normal(size=(seeds, 1))
    found = over_seeds.mean(values)

    half = stats.t.ppf(0.975, seeds - 1) * values.mean(1).std(ddof=1) / seeds**0.5
    assert (found.mean, found.half) == pytest.approx((values.mean(), half))


@pytest.mark.parametrize("seeds", [5, 12])
def test_a_gain_has_the_interval_of_welch(seeds) -> None:
    high, low = RNG.normal(size=(seeds, 3)) + 1, 2 * RNG.normal(size=(seeds, 3))
    found = over_seeds.gain(high, low)

    welch = stats.ttest_ind(high.mean(1), low.mean(1), equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(welch))

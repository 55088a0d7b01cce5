import numpy as np
import pytest

from bridge.similarity.outcomes import error_consistency, partial_correlation

RNG = np.random.default_rng(0)


def test_the_same_errors_are_consistent_and_shuffled_ones_are_not():
    errors = RNG.random(4000) < 0.3
    assert error_consistency(errors, errors) == 1
    assert error_consistency(errors, ~errors) < -0.5
    assert abs(error_consistency(errors, RNG.permutation(errors))) < 3 / 4000**0.5


def test_error_consistency_is_that_of_the_formula():
    """Both err on 1 of 8 trials, each alone on 1: observed 6/8, expected (2*2 + 6*6) / 64."""
    one = np.array([1, 1, 0, 0, 0, 0, 0, 0], bool)
    other = np.array([1, 0, 1, 0, 0, 0, 0, 0], bool)
    assert error_consistency(one, other) == pytest.approx((6 / 8 - 40 / 64) / (1 - 40 / 64))


def test_agents_that_never_err_say_nothing():
    never = np.zeros(10, bool)
    assert np.isnan(error_consistency(never, never))
    assert np.isnan(error_consistency(never, np.arange(10) < 5))


def test_a_common_cause_is_partialled_out():
    difficulty = RNG.normal(size=(3000, 1))
    x, y = (difficulty[:, 0] + 0.5 * RNG.normal(size=3000) for _ in range(2))
    assert np.corrcoef(x, y)[0, 1] > 0.7
    assert abs(partial_correlation(x, y, difficulty)) < 3 / 3000**0.5
    assert partial_correlation(x, x, difficulty) == pytest.approx(1)
    assert partial_correlation(x, -x, difficulty) == pytest.approx(-1)


def test_partial_correlation_is_that_of_the_recursion():
    x, y, z = RNG.normal(size=(3, 50))
    (_, xy, xz), (_, _, yz), _ = np.corrcoef([x, y, z])
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert partial_correlation(x, y, z[:, None]) == pytest.approx(expected)


def test_nothing_left_to_correlate():
    z = RNG.normal(size=(20, 1))
    assert np.isnan(partial_correlation(2 * z[:, 0] + 1, RNG.normal(size=20), z))
    single = z.astype(np.float32)
    assert np.isnan(partial_correlation(1 - 0.3 * single[:, 0], RNG.normal(size=20), single))
    assert np.isnan(partial_correlation(np.full(20, 0.1, np.float32), RNG.normal(size=20), single))

"""Similarities over pairs of seeds, with known answers."""

import numpy as np
import pytest

from bridge.evaluation.stats import Resampled
from bridge.similarity.pairs import Agreement, Constant, Mean, interval

RNG = np.random.default_rng(0)


def once(seeds, trials):
    """A table as it is, not resampled."""
    return Resampled(np.zeros((seeds, trials)), np.ones((1, seeds)), np.ones((1, trials)))


def test_the_mean_is_over_pairs_and_weighted_trials():
    values = RNG.random((1, 3, 4))
    weight = np.array([1.0, 0.0, 2.0, 1.0])
    found = Mean(values, weight).over(once(1, 4), once(3, 4))
    assert found == pytest.approx(np.average(values.mean((0, 1)), weights=weight))


@pytest.mark.parametrize("itself", [1.0, np.nan])
def test_a_seed_is_not_compared_with_itself(itself):
    """Nor does it matter if its similarity to itself is not defined."""
    values = np.full((3, 3, 4), 0.25)
    values[np.arange(3), np.arange(3)] = itself
    assert Mean(values, np.ones(4)).over(once(3, 4), once(3, 4)) == pytest.approx(0.25)
    of_reference = Mean(values[:1], np.ones(4)).over(once(1, 4), once(3, 4))
    assert of_reference == pytest.approx((itself + 0.5) / 3, nan_ok=True)


def agreement(one, other):
    """Of actions ``[S, T]`` among three."""
    ours, theirs = np.eye(3)[one], np.eye(3)[other]
    observed = np.einsum("ita,jta->ijt", ours, theirs)
    return Agreement(observed, ours, theirs, np.ones(one.shape[1]))


def test_kappa_is_one_for_the_same_actions_and_zero_for_shuffled_ones():
    actions = RNG.integers(3, size=(1, 3000))
    whole = once(1, 3000)
    assert agreement(actions, actions).over(whole, whole) == pytest.approx(1)
    found = agreement(actions, RNG.permuted(actions, axis=1)).over(whole, whole)
    assert abs(found[0]) < 3 / 3000**0.5


def test_kappa_is_that_of_the_formula():
    one, other = np.array([[0, 0, 1, 1, 2]]), np.array([[0, 1, 1, 1, 0]])
    expected = 2 / 5 * 2 / 5 + 2 / 5 * 3 / 5
    found = agreement(one, other).over(once(1, 5), once(1, 5))
    assert found == pytest.approx((3 / 5 - expected) / (1 - expected))


def test_kappa_of_constant_actions_is_not_defined():
    always, sometimes = np.zeros((1, 9), int), np.arange(9)[None] % 3
    assert np.isnan(agreement(always, always).over(once(1, 9), once(1, 9)))
    assert np.isnan(agreement(always, sometimes).over(once(1, 9), once(1, 9)))


def noisy(seeds, trials, level):
    return Mean(level + 0.1 * RNG.normal(size=(seeds, seeds, trials)), np.ones(trials))


@pytest.mark.parametrize("seeds", [3, 10])
def test_a_difference_has_an_interval_that_holds_it(seeds):
    near, far = noisy(seeds, 60, 0.7), noisy(seeds, 60, 0.4)

    def difference(resampled):
        a, b = resampled["a"], resampled["b"]
        return near.over(a, b) - far.over(a, b)

    found = interval(difference, {"a": seeds, "b": seeds}, 60, reps=500)
    assert found.low < 0.3 < found.high
    assert 0 < found.half < 0.1
    assert found.n == seeds


def test_a_single_pair_of_seeds_has_no_interval():
    alone = Mean(np.full((2, 2, 5), 0.4), np.ones(5))

    def ceiling(resampled):
        return alone.over(resampled["a"], resampled["a"])

    found = interval(ceiling, {"a": 2}, 5)
    assert found.mean == pytest.approx(0.4)
    assert np.isnan(found.half)


def test_no_histories_are_no_similarity():
    nothing = Mean(np.ones((1, 1, 5)), np.zeros(5))
    found = interval(lambda r: nothing.over(r["a"], r["b"]), {"a": 1, "b": 1}, 5)
    assert np.isnan(found.mean)


def test_constant_pairs_are_not_resampled_over_trials():
    """So a number of two references has no interval."""
    found = Constant(np.array([[0.2, 0.4], [0.6, 0.8]]))
    few = Resampled(np.zeros((2, 7)), np.ones((1, 2)), np.eye(7)[:1])
    assert found.over(few, few) == pytest.approx(0.5)
    assert found.over(once(2, 7), once(2, 7)) == pytest.approx(0.5)
    alone = Constant(np.array([[0.3]]))
    number = interval(lambda r: alone.over(r["a"], r["b"]), {"a": 1, "b": 1}, 7)
    assert number.mean == pytest.approx(0.3)
    assert np.isnan(number.half)

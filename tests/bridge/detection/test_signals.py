"""Failure signals on trials with a planted fault, and on trials without one."""

import numpy as np
import pytest

from bridge.detection.scoring import auroc, threshold
from bridge.detection.signals import (
    CHEAP,
    SIGNALS,
    Kept,
    available,
    entropy,
    novelty,
    surprise,
)
from bridge.evaluation.policies import SIGNS

RNG = np.random.default_rng(0)
P, T, D, A = 4, 600, 5, 3
PLANTED = RNG.random(T) < 0.4


def trials(
    *,
    shifted: float = 0.0,
    disappointing: float = 0.0,
    unsure: float = 0.0,
    turned: bool = False,
    **signs: float,
) -> Kept:
    """Trials whose state foretells what the next shot earns; a fault of ``PLANTED`` ones is as large as is given."""
    state = RNG.normal(size=(P, T, D)) + 2
    state[:, PLANTED] += shifted
    if turned:
        state[:, PLANTED] *= -1
    gains = state[:-1, :, 0] + 0.3 * RNG.normal(size=(P - 1, T)) - disappointing * PLANTED
    earned = np.concatenate([np.zeros((1, T)), gains.cumsum(0)])
    sharp = np.where(PLANTED, 1 - unsure, 1.0)[:, None]
    policy = sharp * np.array([0.9, 0.05, 0.05]) + (1 - sharp) / A
    told = {name: RNG.random((P, T)) + signs.get(name, 0.0) * PLANTED for name in SIGNS}
    return Kept(earned, state, np.broadcast_to(policy, (P, T, A)), told)


HOME, FOLD = trials(), np.arange(T) % 2 == 0


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("low return", {"disappointing": 5.0}),
        ("novelty", {"shifted": 6.0}),
        ("surprise", {"disappointing": 5.0}),
        ("entropy", {"unsure": 0.5}),
        ("step size", {"shifted": 6.0}),
        ("misalignment", {"turned": True}),
        ("order", {"order": 1.0}),
        ("unlikely", {"likelihood": -1.0}),
        ("misfit", {"misfit": 1.0}),
    ],
)
def test_a_planted_failure_is_found_by_the_signal_for_it(name, fault):
    assert auroc(SIGNALS[name].read(HOME, trials(**fault), P - 1), PLANTED) > 0.95


@pytest.mark.parametrize("name", SIGNALS)
def test_without_a_fault_a_signal_is_a_coin(name):
    failures, others = PLANTED.sum(), (~PLANTED).sum()
    error = ((failures + others + 1) / (12 * failures * others)) ** 0.5
    assert abs(auroc(SIGNALS[name].read(HOME, trials(), P - 1), PLANTED) - 0.5) < 3 * error


@pytest.mark.parametrize("name", [name for name in SIGNALS if name != "entropy"])
def test_the_threshold_of_training_keeps_its_rate_on_new_trials(name):
    """No signal is fitted so closely to the trials of training that new ones of the same kind have alarms."""
    signal = SIGNALS[name]
    limit = threshold(signal.at_home(HOME, FOLD, P - 1), 0.1)
    rate = np.mean(signal.read(HOME, trials(), P - 1) > limit)
    assert rate == pytest.approx(0.1, abs=3 * (0.1 * 0.9 * 2 / T) ** 0.5)


def test_novelty_is_fitted_after_the_same_number_of_shots():
    """States that grow with the shots, as a posterior's precision does, are no novelty."""

    def grown(kept: Kept) -> Kept:
        assert kept.state is not None
        return kept._replace(state=kept.state * np.arange(1, P + 1)[:, None, None])

    found = novelty(grown(HOME), grown(trials()), P - 1)
    assert found.mean() == pytest.approx(D**0.5, rel=0.1)


def test_surprise_is_of_the_outcome_given_the_state():
    """A bad task that the state foretells is no surprise, though it earns less."""
    poor = trials()
    assert poor.state is not None
    state = poor.state.copy()
    state[:, PLANTED, 0] -= 4
    earned = poor.earned.copy()
    earned[1:, PLANTED] -= 4 * np.arange(1, P)[:, None]
    poor = poor._replace(state=state, earned=earned)
    assert auroc(SIGNALS[CHEAP].read(HOME, poor, P - 1), PLANTED) > 0.95
    assert auroc(surprise(HOME, poor, P - 1), PLANTED) < 0.65


def test_surprise_of_training_is_read_on_trials_that_it_was_not_fitted_on():
    """With many features a fit is close on its own trials; new ones of the same kind would all be surprises."""

    def wide() -> Kept:
        earned = np.concatenate([np.zeros((1, 120)), RNG.normal(size=(P - 1, 120)).cumsum(0)])
        return Kept(earned, RNG.normal(size=(P, 120, 50)), np.full((P, 120, A), 1 / A))

    home = wide()
    at_home = SIGNALS["surprise"].at_home(home, FOLD[:120], P - 1)
    assert at_home.mean() > 0.8 * surprise(home, wide(), P - 1).mean()
    assert surprise(home, home, P - 1).mean() < 0.8 * at_home.mean()


def test_entropy_by_hand():
    certain = Kept(np.zeros((1, 2)), None, np.array([[[1.0, 0.0], [0.5, 0.5]]]))
    np.testing.assert_allclose(entropy(certain, certain, 0), [0, np.log(2)])


def test_the_effect_of_order_is_without_rounding():
    """An agent that adds up its shots is moved by nothing but the last digits of a sum."""
    rounding = {"order": 1e-6 * RNG.random((P, T))}
    assert not SIGNALS["order"].read(HOME, HOME._replace(signs=rounding), P - 1).any()


def test_novelty_of_training_is_read_on_trials_that_it_was_not_fitted_on():
    """With as many features as a fit has trials, these are all near its mean, and new ones are not."""
    earned, policy = np.zeros((P, 160)), np.full((P, 160, A), 1 / A)
    home, new = (Kept(earned, RNG.normal(size=(P, 160, 60)), policy) for _ in range(2))
    at_home = SIGNALS["novelty"].at_home(home, FOLD[:160], 0)
    assert novelty(home, home, 0).mean() < 0.8 * novelty(home, new, 0).mean()
    assert at_home.mean() > novelty(home, new, 0).mean()


def test_signals_are_those_whose_needs_are_met():
    blind = HOME._replace(state=None, signs={"misfit": HOME.signs["misfit"]})
    assert available(blind, of_steps=True) == ["low return", "entropy", "misfit"]
    assert available(HOME, of_steps=True) == list(SIGNALS)
    assert set(SIGNALS) - set(available(HOME, of_steps=False)) == {"step size", "misalignment"}

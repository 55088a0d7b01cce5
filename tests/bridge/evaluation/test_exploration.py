"""Measures of exploration: by hand, and against the values that Krishnamurthy et al. 2024 publish."""

from functools import cache

import numpy as np
import pytest
import torch

from bridge.errors import UserError
from bridge.evaluation.assignment import Assignment
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.exploration import (
    by_trial,
    greedy_share,
    least_played,
    scaled_reward,
    suffix_failure,
)
from bridge.evaluation.observers import StepDetail
from bridge.evaluation.plan import Plan
from bridge.references.registry import reference
from bridge.tasks.bandit import Bandit

ALWAYS_A, ALWAYS_B = [0] * 6, [1] * 6
UNIFORM = [0, 1, 2, 2, 1, 0]
LATE, EARLY = [1, 1, 2, 2, 1, 0], [0, 0, 1, 2, 1, 2]
PLAYS = np.array([ALWAYS_A, ALWAYS_B, UNIFORM, LATE, EARLY])
A_IS_BEST = np.zeros(len(PLAYS), int)


@pytest.mark.parametrize(
    ("start", "failed"),
    [
        (None, [False, True, False, False, True]),  # pull 3 of 6
        (1, [False, True, False, False, False]),
        (2, [False, True, False, False, False]),
        (3, [False, True, False, False, True]),
        (6, [False, True, False, False, True]),
    ],
)
def test_a_suffix_failure_never_pulls_the_best_arm_again(start, failed):
    assert suffix_failure(PLAYS, A_IS_BEST, start).tolist() == failed


def test_the_best_arm_is_each_trials_own():
    assert suffix_failure(PLAYS[:2], np.array([1, 0])).tolist() == [True, True]


@pytest.mark.parametrize("start", [0, 7])
def test_a_suffix_begins_with_a_pull(start):
    with pytest.raises(UserError, match=f"1 to 6; found {start}"):
        suffix_failure(PLAYS, A_IS_BEST, start)


def test_a_single_pull_is_its_own_suffix():
    assert suffix_failure(np.array([[0], [1]]), np.array([0, 0])).tolist() == [False, True]


def test_least_played_is_1_if_uniform_and_0_if_an_arm_is_never_played():
    np.testing.assert_allclose(least_played(PLAYS, 3), [0, 0, 1, 0.5, 1])
    np.testing.assert_allclose(least_played(PLAYS, 4), 0)


@pytest.mark.parametrize(
    ("actions", "rewards", "share"),
    [
        (ALWAYS_A, [1, 0, 0, 0, 0, 0], 1.0),  # an arm that was never pulled has a mean of 0
        (ALWAYS_A, [0, 0, 0, 0, 0, 0], 1.0),  # a tie with those
        (ALWAYS_A, [-1, 0, 0, 0, 0, 0], 1 / 6),  # below the 0 of the others
        (UNIFORM, [0, 0, 0, 0, 0, 0], 1.0),
        (UNIFORM, [1, 0, 0, 0, 0, 0], 2 / 6),  # the first pull, and the last of arm 0
        (UNIFORM, [0, 1, 0, 1, 0, 0], 3 / 6),  # pulls 1 and 2 (ties at 0), and 5
        ([0, 1, 1, 0, 1, 0], [1, 1, 0, 1, 0, 1], 4 / 6),  # pulls 1, 3 (a tie at 1), 4 and 6
    ],
)
def test_greedy_share_by_hand(actions, rewards, share):
    found = greedy_share(np.array([actions]), np.array([rewards], float), 3)
    assert found == pytest.approx([share])


def test_scaled_reward_is_0_for_the_worst_arm_and_1_for_the_best():
    means = np.array([[0.4, 0.6, 0.4], [0.1, 0.2, 0.9], [-3.0, 1.0, 0.0]])
    rewards = np.array([[0.4, 0.4], [1.0, 0.8], [0.0, -2.0]])
    np.testing.assert_allclose(scaled_reward(rewards, means), [0, 1, 0.5], atol=1e-12)


def test_by_trial_sorts_what_chunks_have_mixed():
    rows = {
        "trial": np.array([1, 0, 1, 0]),
        "episode": np.array([1, 0, 0, 1]),
        "step": np.array([0, 0, 0, 0]),
        "action": np.array([7, 4, 6, 5]),
        "reward": np.array([0.7, 0.4, 0.6, 0.5]),
    }
    actions, rewards = by_trial(rows)
    assert actions.tolist() == [[4, 5], [6, 7]]
    assert rewards.tolist() == [[0.4, 0.5], [0.6, 0.7]]
    with pytest.raises(UserError, match="equal length, found 1 to 2 steps"):
        by_trial({name: column[:3] for name, column in rows.items()})


TRIALS = 10_000
HARD, EASY = Bandit(k=5, n=100, arms="one_best_hard"), Bandit(k=4, n=100, arms="one_best_easy")


@cache
def played(method: str, family: Bandit) -> dict[str, np.ndarray]:
    """Each measure of each trial."""
    plan, detail = Plan(trials=TRIALS), StepDetail(TRIALS)
    evaluate(reference(method, family, "id"), family, plan, observers=[detail])
    actions, rewards = by_trial(detail.rows())
    tasks = family.sample("id", Assignment.of(family, plan).task(torch.arange(TRIALS)))
    means = Bandit.mean_rewards(tasks).double().numpy()
    return {
        "SuffFail(T/2)": suffix_failure(actions, means.argmax(1)).astype(float),
        "K·MinFrac": least_played(actions, family.k),
        "GreedyFrac": greedy_share(actions, rewards, family.k),
        "reward": scaled_reward(rewards, means),
    }


@pytest.mark.parametrize(
    ("method", "family", "median", "suffix", "least", "greedy"),
    [
        ("thompson", HARD, 0.45, 0.006, 0.283, 0.59),
        ("ucb1", HARD, 0.55, 0.024, 0.181, 0.73),
        ("greedy", HARD, 0.50, 0.449, 0.051, 0.97),
        ("random", HARD, 0.20, 0.0, 0.75, 0.24),
        ("thompson", EASY, 0.84, 0.0, 0.139, None),
        ("ucb1", EASY, 0.90, 0.0, 0.092, None),
        ("greedy", EASY, 0.92, 0.203, 0.041, None),
    ],
)
def test_published_values(method, family, median, suffix, least, greedy):
    """Means are within .02. A median is a whole number of wins, .05 or .02 apart: it is within 2% of the trials."""
    found = played(method, family)
    assert found["SuffFail(T/2)"].mean() == pytest.approx(suffix, abs=0.02)
    assert found["K·MinFrac"].mean() == pytest.approx(least, abs=0.02)
    if greedy is not None:
        assert found["GreedyFrac"].mean() == pytest.approx(greedy, abs=0.006)  # two digits
    reward = found["reward"]
    assert (reward < median - 1e-6).mean() < 0.52
    assert (reward < median + 1e-6).mean() > 0.48

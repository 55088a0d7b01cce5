"""Measures of exploration on bandits, from the pulls of whole trials (Krishnamurthy et al. 2024, arXiv 2403.15371).

Returns alone do not distinguish two failures: an agent that settles on a wrong arm for good (``suffix_failure``), and
one that goes on pulling all arms alike (``least_played``). Each measure is a number for each trial, so that the caller
can compute intervals; the published ones are their means over trials, and the median of ``scaled_reward``.

    detail = StepDetail(plan.trials)
    evaluate(agent, family, plan, observers=[detail])
    actions, rewards = by_trial(detail.rows())

Shape letters: B trials, T pulls, k arms.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from bridge.errors import UserError

Actions = Int[np.ndarray, "B T"]
"""The arm of each pull, from 0 to k - 1."""
Rewards = Float[np.ndarray, "B T"]
"""The reward of each pull."""
PerTrial = Float[np.ndarray, " B"]
"""A number for each trial."""

_ROUNDING = 1e-6
"""Empirical means this close are tied."""


def by_trial(rows: Mapping[str, Shaped[np.ndarray, " n"]]) -> tuple[Actions, Rewards]:
    """The actions and rewards of ``StepDetail.rows()``, a row a trial in ascending order of trials.

    Raises:
        UserError: the trials differ in their numbers of steps.
    """
    order = np.lexsort((rows["step"], rows["episode"], rows["trial"]))
    lengths = np.unique(rows["trial"], return_counts=True)[1]
    if len(set(lengths.tolist())) != 1:
        raise UserError(
            f"Measures of exploration need trials of equal length, found {lengths.min()} to {lengths.max()} steps. "
            "Play a family whose episodes do not end early, such as bandit."
        )
    shape = (len(lengths), int(lengths[0]))
    return rows["action"][order].reshape(shape), rows["reward"][order].reshape(shape)


def suffix_failure(
    actions: Actions, best: Int[np.ndarray, " B"], start: int | None = None
) -> Bool[np.ndarray, " B"]:
    """True if the best arm is never pulled again from pull ``start`` on; the mean over trials is SuffFail(start).

    Args:
        actions: the arm of each pull.
        best: the arm with the highest mean, of each trial.
        start: number of the first pull that counts, from 1; default: T / 2.

    Raises:
        UserError: the trials have no pull ``start``.
    """
    pulls = actions.shape[1]
    first = max(1, pulls // 2) if start is None else start
    if not 1 <= first <= pulls:
        raise UserError(f"start is the number of a pull, 1 to {pulls}; found {first}.")
    return (actions[:, first - 1 :] != best[:, None]).all(1)


def least_played(actions: Actions, k: int) -> PerTrial:
    """k times the share of the least played arm: 1 if all arms are played alike, 0 if one never is.

    The mean over trials is K·MinFrac.
    """
    counts = np.stack([(actions == arm).sum(1) for arm in range(k)], axis=1)
    return k * counts.min(1) / actions.shape[1]


def greedy_share(actions: Actions, rewards: Rewards, k: int) -> PerTrial:
    """The share of pulls of an arm with the highest mean reward so far; the mean over trials is GreedyFrac.

    Any arm of a tie counts, and an arm that was never pulled has a mean of 0, so that a first pull always counts. The
    published values follow to two digits (tested). They do not if arms that were never pulled, or ties, do not count; a
    mean of 1/2 would do as well.
    """
    trials, pulls = actions.shape
    row = np.arange(trials)
    count, total, greedy = np.zeros((trials, k)), np.zeros((trials, k)), np.zeros(trials)
    for t in range(pulls):
        mean = total / np.maximum(count, 1)
        greedy += mean[row, actions[:, t]] >= mean.max(1) - _ROUNDING
        count[row, actions[:, t]] += 1
        total[row, actions[:, t]] += rewards[:, t]
    return greedy / pulls


def scaled_reward(rewards: Rewards, means: Float[np.ndarray, "B k"]) -> PerTrial:
    """The mean reward of a trial, on a scale on which the worst arm's mean is 0 and the best arm's is 1.

    Args:
        rewards: the reward of each pull, as it was paid: noise may carry a trial below 0 or above 1.
        means: the mean reward of each arm (``Bandit.mean_rewards``); those of a trial are not all equal.
    """
    low, high = means.min(1), means.max(1)
    return (rewards.mean(1, dtype=np.float64) - low) / (high - low)

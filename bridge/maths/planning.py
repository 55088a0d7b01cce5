"""Planning in tabular MDPs over a finite horizon, batched: backward induction, plain and optimistic.

The action values of the last step are the rewards; those of step t follow from the state values of step t+1 (Puterman
1994, "Markov Decision Processes", section 4.5). Extended value iteration lets the transitions vary within a ball around
an estimate and takes the best of them (Jaksch, Ortner & Auer 2010, "Near-optimal Regret Bounds for Reinforcement
Learning", section 3.1.2).

Products are written as multiply-and-sum: ``einsum`` and ``bmm`` round differently with the batch size, and row b alone
must equal row b in any batch, bit for bit.

Shape letters: B MDPs, H steps, S states, A actions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Transitions = Float[Tensor, "B S A S"]
"""Probabilities of the next state; the last dimension sums to 1."""
Rewards = Float[Tensor, "B S A"]
"""A number for each state and action."""
Values = Float[Tensor, "B H S A"]
"""Action values at each step of an episode."""


def value_iteration(transition: Transitions, reward: Rewards, horizon: int) -> Values:
    """Optimal action values at each step of an episode; the value of step t is their maximum, ``q[:, t].amax(-1)``.

    Args:
        transition: probabilities of the next state; the last dimension sums to 1.
        reward: expected reward of each state and action.
        horizon: steps in an episode, H >= 1.
    """
    return _backward(
        lambda value: reward + (transition * value[:, None, None]).sum(-1), reward, horizon
    )


def extended_value_iteration(
    transition: Transitions,
    reward: Rewards,
    radius: Rewards,
    horizon: int,
) -> Values:
    """As ``value_iteration``, with the best transitions within L1 distance ``radius`` at every backup."""

    def backup(value: Float[Tensor, "B S"]) -> Rewards:
        # Moving probability radius/2 from the worst states to the best one lifts the CDF over states, best first.
        best_first, order = value.sort(-1, descending=True)
        cdf = transition.gather(-1, order[:, None, None].expand_as(transition)).cumsum(-1)
        lifted = (cdf[..., :-1] + radius[..., None] / 2).clamp(max=1.0)
        drop = best_first[:, :-1] - best_first[:, 1:]
        return reward + best_first[:, -1, None, None] + (lifted * drop[:, None, None]).sum(-1)

    return _backward(backup, reward, horizon)


def _backward(
    backup: Callable[[Float[Tensor, "B S"]], Rewards],
    reward: Rewards,
    horizon: int,
) -> Values:
    """Backward induction from a value of 0 after the last step; ``reward`` determines the shapes."""
    q = reward.new_empty(len(reward), horizon, *reward.shape[1:])
    value = torch.zeros_like(reward[:, :, 0])
    for t in reversed(range(horizon)):
        q[:, t] = backup(value)
        value = q[:, t].amax(-1)
    return q

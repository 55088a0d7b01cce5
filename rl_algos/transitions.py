"""Transitions as replay buffers hold them and as soft actor-critic reads them.

Shape letters: n rows, T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bridge import spaces
from bridge.protocol import Step
from bridge.tasks.base import Box, Discrete
from bridge.transitions import stacked


class Transitions(NamedTuple):
    """Transitions of any batch shape, as they were played or as ``features``."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "*batch"]
    """The task's own reward."""
    next_obs: Tensor
    terminated: Tensor
    """True (as a feature: 1) if the MDP ended. False after a time-out, which does not end it."""
    critic_reward: Float[Tensor, "*batch"]
    """The reward that critics learn from."""

    def features(
        self, observation: Discrete | Box, action: Discrete | Box, largest: Tensor
    ) -> Transitions:
        """The inputs of actor and critics.

        Args:
            observation: the space of observations.
            action: the space of actions.
            largest: size of the largest reward seen so far, by which ``critic_reward`` is ``scaled``.
        """
        return Transitions(
            obs=spaces.features(self.obs, observation),
            action=spaces.features(self.action, action),
            reward=self.reward,
            next_obs=spaces.features(self.next_obs, observation),
            terminated=self.terminated.float(),
            critic_reward=scaled(self.critic_reward, largest),
        )


def recorded(
    steps: Sequence[Step], critic_reward: Sequence[Tensor] | None = None
) -> tuple[Transitions, Bool[Tensor, "n T"]]:
    """Played steps as transitions ``[n, T, ...]``, and True for those in which the row acted.

    Args:
        steps: T steps of n rows.
        critic_reward: other rewards of these steps for critics; None: the task's own.
    """
    all_steps = stacked(steps)
    rewards = [step.reward for step in steps] if critic_reward is None else list(critic_reward)
    return Transitions(*all_steps[:5], torch.stack(rewards, 1)), all_steps.live


def scaled(reward: Tensor, largest: Tensor) -> Tensor:
    """Rewards divided by the size of the largest one seen so far; as they are if none but 0 was seen."""
    return reward / torch.where(largest > 0, largest, 1.0)

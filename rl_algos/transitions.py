"""Transitions as replay buffers hold them and as soft actor-critic reads them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge import spaces
from bridge.tasks.base import Space
from bridge.test_time.trial_buffer import TrialBuffer


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

    @classmethod
    def of(
        cls, steps: TrialBuffer, critic_reward: Float[Tensor, "*batch"] | None = None
    ) -> Transitions:
        """Recorded steps as transitions; ``critic_reward``: another reward for critics, None: the task's own."""
        return cls(*steps[:5], steps.reward if critic_reward is None else critic_reward)

    def features(self, observation: Space, action: Space, largest: Tensor) -> Transitions:
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


def scaled(reward: Tensor, largest: Tensor) -> Tensor:
    """Rewards divided by the size of the largest one seen so far; as they are if none but 0 was seen."""
    return reward / torch.where(largest > 0, largest, 1.0)

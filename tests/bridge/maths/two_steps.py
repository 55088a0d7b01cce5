"""A Markov decision process of two steps and two actions, small enough to enumerate its eight trajectories.

The second state is 1 or 2, by a coin that the first action weighs.
"""

from itertools import product

import torch
from torch import Tensor

REWARD = torch.tensor([[0.3, -0.4], [1.0, 0.2], [-0.7, 0.9]], dtype=torch.float64)
"""Of each state and action."""
UP = torch.tensor([0.8, 0.35], dtype=torch.float64)
"""Probability that the second state is 1, after each first action."""

PATHS = torch.tensor(list(product((0, 1), (1, 2), (0, 1))))
"""First action, second state, second action."""
STATES = torch.stack([torch.zeros(len(PATHS), dtype=torch.int64), PATHS[:, 1]], 1)
ACTIONS = PATHS[:, [0, 2]]
REWARDS = REWARD[STATES, ACTIONS]
"""``[8, 2]``."""
TO_GO = REWARDS.flip(1).cumsum(1).flip(1)
_CHANCE = torch.where(PATHS[:, 1] == 1, UP[PATHS[:, 0]], 1 - UP[PATHS[:, 0]])


def log_probs(log_policy: Tensor) -> Tensor:
    """Of the actions of every path, ``[8, 2]``, from the log-probabilities ``[3, 2]`` of each state's actions."""
    return log_policy[STATES, ACTIONS]


def chances(log_policy: Tensor) -> Tensor:
    """The probability of every path, ``[8]``."""
    return _CHANCE * log_probs(log_policy).sum(1).exp()


def expected_return(log_policy: Tensor) -> Tensor:
    """J, with all derivatives."""
    return (chances(log_policy) * REWARDS.sum(1)).sum()

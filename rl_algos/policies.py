"""Policies without memory: from an observation to the parameters of an action distribution.

Shape letters: D observation features, A distribution parameters.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from bridge import spaces
from bridge.tasks.base import Space


class Policy(nn.Module):
    """A module from observations ``[*batch, ...]`` to distribution parameters ``[*batch, A]``."""

    actions: spaces.Actions
    """The distributions of actions."""


class MlpPolicy(Policy):
    """A multilayer perceptron with two hidden layers, small at the last layer so that play starts out random.

    Distributions are Gaussian on boxes and categorical on finite sets, whose log-probabilities have simple second
    derivatives.
    """

    def __init__(self, observation: Space, action: Space, hidden: int) -> None:
        super().__init__()
        self.observation, self.action = observation, action
        self.actions = spaces.actions(action, "clipped_gaussian")
        first, second = nn.Linear(spaces.width(observation), hidden), nn.Linear(hidden, hidden)
        for layer in (first, second):
            nn.init.orthogonal_(layer.weight, 5 / 3)  # the gain of tanh
            nn.init.zeros_(layer.bias)
        self.body = nn.Sequential(first, nn.Tanh(), second, nn.Tanh())
        self.head = nn.Linear(hidden, self.actions.outputs)
        nn.init.orthogonal_(self.head.weight, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        features = spaces.features(obs, self.observation)
        return self.head(self.body(features.to(self.head.weight.dtype)))

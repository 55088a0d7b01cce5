"""Policies without memory: an observation in, what an action distribution is made of out.

Shape letters: D observation features, A distribution parameters.
"""

from __future__ import annotations

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from bridge import spaces
from bridge.tasks.base import Box, Discrete


class Policy(nn.Module):
    """Called with observations ``[*batch, ...]``, it gives what ``actions`` reads."""

    actions: spaces.Actions


class MlpPolicy(Policy):
    """A multilayer perceptron, small at the last layer so that play starts out random.

    On boxes the distribution is Gaussian and on finite sets categorical: families whose log-probabilities have simple
    second derivatives.
    """

    def __init__(
        self, observation: Discrete | Box, action: Discrete | Box, hidden: int, layers: int = 2
    ) -> None:
        super().__init__()
        self.observation, self.action = observation, action
        self.actions = spaces.actions(action, "clipped_gaussian")
        widths = [spaces.width(observation), *[hidden] * layers]
        body = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)]
        for layer in body:
            nn.init.orthogonal_(layer.weight, 5 / 3)  # the gain of tanh
            nn.init.zeros_(layer.bias)
        self.body = nn.Sequential(*(module for layer in body for module in (layer, nn.Tanh())))
        self.head = nn.Linear(widths[-1], self.actions.outputs)
        nn.init.orthogonal_(self.head.weight, 0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        return self.head(
            self.body(spaces.features(obs, self.observation).to(self.head.weight.dtype))
        )

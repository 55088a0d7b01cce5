"""Policies without memory: from an observation to the parameters of an action distribution.

Distributions are Gaussian on boxes and categorical on finite sets, whose log-probabilities have simple second
derivatives.

Shape letters: D observation features, A distribution parameters.
"""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from bridge import spaces
from bridge.tasks.base import Space


class Policy(nn.Module):
    """A module from observations ``[*batch, ...]`` to distribution parameters ``[*batch, A]``."""

    actions: spaces.Actions
    """The distributions of actions."""


class Feedforward(Policy):
    """The base of networks that read an observation's features."""

    head: nn.Linear
    """The last layer."""
    owned: ClassVar[tuple[str, ...]]
    """Names of the parameters that each of several known tasks owns, whatever else they share."""

    def __init__(self, observation: Space, action: Space) -> None:
        super().__init__()
        self.observation, self.action = observation, action
        self.actions = spaces.actions(action, "clipped_gaussian")

    def features(self, obs: Tensor) -> Float[Tensor, "*batch D"]:
        """Return observations as the network reads them, in the precision of its weights."""
        features = spaces.features(obs, self.observation)
        return features.to(next(self.parameters()).dtype)


class MlpPolicy(Feedforward):
    """A multilayer perceptron, small at the last layer so that play starts out random."""

    owned = ("body.0.bias",)

    def __init__(self, observation: Space, action: Space, hidden: int, layers: int = 2) -> None:
        super().__init__(observation, action)
        self.body = layers_of(spaces.width(observation), hidden, layers)
        self.head = small_head(hidden, self.actions.outputs)

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        return self.head(self.body(self.features(obs)))


def layers_of(width: int, hidden: int, layers: int) -> nn.Sequential:
    """Return hidden layers on ``width`` features, each with a tanh after it."""
    inner = [nn.Linear(inputs, hidden) for inputs in (width, *[hidden] * (layers - 1))]
    for layer in inner:
        nn.init.orthogonal_(layer.weight, 5 / 3)  # the gain of tanh
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*(part for layer in inner for part in (layer, nn.Tanh())))


def small_head(hidden: int, outputs: int) -> nn.Linear:
    """Return a last layer with small weights."""
    head = nn.Linear(hidden, outputs)
    nn.init.orthogonal_(head.weight, 0.01)
    nn.init.zeros_(head.bias)
    return head

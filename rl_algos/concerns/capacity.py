"""Capacity limits: one small network for more tasks than it can hold. Networks that let tasks use it differently.

What a task owns of them (``owned``) is a row of numbers for each task, which ``rl_algos/task_table.py`` keeps. Whatever
else there is, tasks share. The plain remedies are ``hidden=`` and ``layers=``.

Shape letters: D observation features, H hidden units, A distribution parameters, k experts or modules of a layer.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bridge import spaces
from bridge.tasks.base import Space
from rl_algos.policies import Feedforward, MlpPolicy, small_head

Network = Literal["mlp", "film", "experts", "moore", "soft_modules"]
"""Networks of a multi-task policy:

* ``mlp``: a multilayer perceptron; a task owns the first layer's biases.
* ``film``: a task owns a scale and a shift of every hidden unit (Perez et al. 2018, arXiv 1709.07871).
* ``experts``: a mixture of experts, whose outputs a task weighs.
* ``moore``: the same with orthogonal outputs (Hendawy et al. 2024, arXiv 2311.11385).
* ``soft_modules``: layers of modules, between which a task's embedding and the observation choose the ways (Yang et al.
  2020, arXiv 2003.13661).
"""


class FilmPolicy(MlpPolicy):
    """A multilayer perceptron whose hidden units are scaled and shifted by what a task owns."""

    owned = ("scale", "shift")

    def __init__(self, observation: Space, action: Space, hidden: int, layers: int) -> None:
        super().__init__(observation, action, hidden, layers)
        self.scale = nn.Parameter(torch.zeros(layers, hidden))
        """Added to 1."""
        self.shift = nn.Parameter(torch.zeros(layers, hidden))

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        out = self.features(obs)
        inner = (layer for layer in self.body if isinstance(layer, nn.Linear))
        for layer, scale, shift in zip(inner, self.scale, self.shift, strict=True):
            out = torch.tanh((1 + scale) * layer(out) + shift)
        return self.head(out)


class SideBySide(nn.Module):
    """k linear layers with a tanh after each, in one product: from ``[*batch, k, D]`` to ``[*batch, k, H]``."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(count, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(count, outputs))
        for one in self.weight.detach():
            nn.init.orthogonal_(one, 5 / 3)  # the gain of tanh

    def forward(self, inputs: Float[Tensor, "*batch #k D"]) -> Float[Tensor, "*batch k H"]:
        return torch.tanh(torch.einsum("...kd,kdh->...kh", inputs, self.weight) + self.bias)


class ExpertsPolicy(Feedforward):
    """Experts side by side, each a multilayer perceptron, whose outputs are added with a task's weights.

    Deviation from Hendawy et al.: the head is shared, unless ``shared=trunk``.

    Args:
        observation: the observation space.
        action: the action space.
        hidden: H, units of each hidden layer of each expert.
        layers: hidden layers of each expert.
        experts: k.
        orthogonal: True to make the experts' outputs orthonormal, for each observation, before they are added.
    """

    owned = ("mixture",)

    def __init__(
        self,
        observation: Space,
        action: Space,
        hidden: int,
        layers: int,
        *,
        experts: int,
        orthogonal: bool,
    ) -> None:
        super().__init__(observation, action)
        self.orthogonal = orthogonal
        sizes = (spaces.width(observation), *[hidden] * layers)
        self.bodies = nn.Sequential(
            *(SideBySide(experts, *pair) for pair in itertools.pairwise(sizes))
        )
        self.mixture = nn.Parameter(torch.zeros(experts))
        self.head = small_head(hidden, self.actions.outputs)

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        outputs = self.bodies(self.features(obs)[..., None, :])
        if self.orthogonal:
            outputs = orthonormal(outputs)
        return self.head(torch.tanh(self.mixture @ outputs))


def orthonormal(rows: Float[Tensor, "*batch k H"]) -> Float[Tensor, "*batch k H"]:
    """Return an orthonormal basis of what the rows span, by the modified Gram-Schmidt process, in their order.

    A row of which less than about 1e-4 is left beside those before it becomes short, and so do its gradients.
    """
    basis: list[Tensor] = []
    for row in rows.unbind(-2):
        least = 1e-4 * row.detach().norm(dim=-1, keepdim=True) + 1e-12
        for other in basis:
            row = row - (row * other).sum(-1, keepdim=True) * other
        basis.append(row / (row.square().sum(-1, keepdim=True) + least**2).sqrt())
    return torch.stack(basis, -2)


class SoftModulesPolicy(Feedforward):
    """Layers of k modules each; how much each module of a layer reads of each module of the layer before is chosen.

    The chooser (the paper's routing network) reads the product of the task's embedding and that of the observation.

    Deviations from Yang et al.: the embedding is what a task owns rather than a layer on its one-hot id; hidden layers
    have tanh, as our other policies; modules have ``hidden`` / k units, so that a layer has about ``hidden``.

    Args:
        observation: the observation space.
        action: the action space.
        hidden: units of a layer, all modules together.
        layers: layers of modules.
        modules: k.
    """

    owned = ("embedding",)

    def __init__(
        self, observation: Space, action: Space, hidden: int, layers: int, *, modules: int
    ) -> None:
        super().__init__(observation, action)
        self.count, width, size = modules, spaces.width(observation), max(1, hidden // modules)
        self.first = SideBySide(modules, width, size)
        self.later = nn.ModuleList(SideBySide(modules, size, size) for _ in range(layers - 1))
        self.embedding = nn.Parameter(torch.zeros(hidden))
        self.observed = nn.Linear(width, hidden)
        self.ways = nn.ModuleList(nn.Linear(hidden, modules**2) for _ in range(layers - 1))
        self.chosen = nn.ModuleList(nn.Linear(modules**2, hidden) for _ in range(layers - 2))
        self.head = small_head(size, self.actions.outputs)

    def forward(self, obs: Tensor) -> Float[Tensor, "*batch A"]:
        features = self.features(obs)
        outputs = self.first(features[..., None, :])
        for shares, layer in zip(self.shares(features), self.later, strict=True):
            outputs = layer(shares @ outputs)
        return self.head(outputs.sum(-2))

    def shares(self, features: Float[Tensor, "*batch D"]) -> list[Float[Tensor, "*batch k k"]]:
        """Return how much each module (row) of each layer after the first reads of each one before (column): shares.

        Equations 4 to 7 of the paper.
        """
        both = self.embedding * self.observed(features)
        found: list[Tensor] = []
        for layer, ways in enumerate(self.ways):
            logits = ways(torch.relu(both if layer == 0 else self.chosen[layer - 1](logits) * both))
            found.append(logits.unflatten(-1, (self.count, self.count)).softmax(-1))
        return found


KINDS: dict[Network, type[Any]] = {
    "mlp": MlpPolicy,
    "film": FilmPolicy,
    "experts": ExpertsPolicy,
    "moore": ExpertsPolicy,
    "soft_modules": SoftModulesPolicy,
}
"""Classes of networks by name."""


def network(
    name: Network, observation: Space, action: Space, *, hidden: int, layers: int, experts: int
) -> Feedforward:
    """Return a new network.

    Args:
        name: of its kind.
        observation: the observation space.
        action: the action space.
        hidden: units of a hidden layer.
        layers: hidden layers.
        experts: experts, or modules of a layer; ``mlp`` and ``film`` have none.
    """
    options: dict[str, Any] = {
        "experts": {"experts": experts, "orthogonal": False},
        "moore": {"experts": experts, "orthogonal": True},
        "soft_modules": {"modules": experts},
    }.get(name, {})
    return KINDS[name](observation, action, hidden, layers, **options)

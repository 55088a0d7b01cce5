"""Agents whose networks can be trained within a trial, beyond the contract of ``bridge/protocol.py``.

Shape letters: B trials, E episodes, H steps, A parameters of a distribution.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from bridge import spaces
from bridge.protocol import Agent
from bridge.tasks.base import Space
from bridge.test_time.trial_buffer import TrialBuffer


@runtime_checkable
class Tunable(Agent, Protocol):
    """An agent whose network can be trained on the transitions of a trial."""

    policy_modules: ClassVar[tuple[str, ...]]
    """Prefixes of the names of those modules of the network that the actions depend on."""

    @property
    def network(self) -> nn.Module:
        """The network that actions depend on."""
        ...

    @property
    def observation(self) -> Space:
        """The space of observations."""
        ...

    @property
    def action(self) -> Space:
        """The space of actions."""
        ...

    @property
    def actions(self) -> spaces.Actions:
        """The distributions that the network parametrises."""
        ...

    def policy_outputs(self, memory: Any, buffer: TrialBuffer, /) -> Float[Tensor, "B E H A"]:
        """The network's output at every recorded step, given the steps before it; anything finite at empty places.

        Differentiable in the network's weights. Equal to the outputs of ``act`` if the same weights played. A latent
        that the agent draws for an episode is that of ``memory``.
        """
        ...


@runtime_checkable
class Stepping(Protocol):
    """An agent that takes gradient steps of its own kind."""

    def with_steps(self, steps: int) -> Agent:
        """The same agent with ``steps`` gradient steps each time."""
        ...

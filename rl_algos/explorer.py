"""Exploration far from the start without any knowledge, to find goals that no trained policy leads to yet.

A random action is repeated for about ten steps, then another one is drawn. Actions drawn anew at every step would undo
each other.

Shape letters: B trials.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bridge import memory as tree
from bridge.idle import Idle
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete

_REPEAT = 0.9
"""Probability of repeating the action."""


class Explorer(Idle):
    """Repeats random actions. Its memory is its last action, ``[B]`` or ``[B, D]``."""

    card = Card(method="scout")

    def __init__(self, space: Discrete | Box) -> None:
        self.space = space

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Tensor:
        return self._any(rng)

    def begin(self, memory: Tensor, rng: Rows, *, episode: int) -> Tensor:
        return self._any(rng)

    def act(self, memory: Tensor, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        changed = rng.at("repeat").uniform() > _REPEAT
        return Decision(tree.where(changed, self._any(rng), memory))

    def observe(self, memory: Tensor, step: Step, carry: Any = None) -> Tensor:
        return step.action

    def _any(self, rng: Rows) -> Tensor:
        """A uniformly random action."""
        if isinstance(self.space, Discrete):
            return rng.integers(self.space.n)
        low, high = torch.tensor([self.space.low, self.space.high], device=rng.device)
        return low + (high - low) * rng.uniform(len(low))

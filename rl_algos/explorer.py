"""Exploration far from the start without any knowledge, to find goals that no trained policy leads to yet.

A random action is repeated for about ten steps, then another one is drawn. Actions drawn anew at every step would undo
each other.

Shape letters: B trials.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge import memory as tree
from bridge import spaces
from bridge.idle import Idle
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Space

_REPEAT = 0.9
"""Probability of repeating the action."""


class Explorer(Idle):
    """Repeats random actions. Its memory is its last action, ``[B]`` or ``[B, D]``."""

    card = Card(method="scout")

    def __init__(self, space: Space) -> None:
        self.space = space

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Tensor:
        return spaces.uniform(self.space, rng)

    def begin(self, memory: Tensor, rng: Rows, *, episode: int) -> Tensor:
        return spaces.uniform(self.space, rng)

    def act(self, memory: Tensor, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        changed = rng.at("repeat").uniform() > _REPEAT
        return Decision(tree.where(changed, spaces.uniform(self.space, rng), memory))

    def observe(self, memory: Tensor, step: Step, carry: Any = None) -> Tensor:
        return step.action

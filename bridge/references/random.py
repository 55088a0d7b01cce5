"""The random agent: the 0 of every normalised score."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge.protocol import Card, Decision
from bridge.references.base import Reference
from bridge.rng import Rows
from bridge.tasks.base import Discrete, TaskFamily


class Random(Reference):
    """Uniform over the actions, at every step."""

    card = Card(method="random", reference=True, exact_reference="exact")

    def __init__(self, family: TaskFamily, split: str = "id") -> None:
        self.space = family.action

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """One uniform draw a row (and dimension)."""
        if isinstance(self.space, Discrete):
            return Decision(rng.integers(self.space.n))
        low, high = obs.new_tensor(self.space.low), obs.new_tensor(self.space.high)
        return Decision(low + (high - low) * rng.uniform(len(self.space.low)))

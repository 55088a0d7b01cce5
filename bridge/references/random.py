"""The random agent: the 0 of every normalised score."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from bridge import spaces
from bridge.protocol import Card, Decision
from bridge.references.base import Reference
from bridge.rng import Rows


class Random(Reference):
    """Uniform over the actions, at every step."""

    card = Card(method="random", reference=True, exact_reference="exact")

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """One uniform draw a row (and dimension)."""
        return Decision(spaces.uniform(self.family.action, rng))

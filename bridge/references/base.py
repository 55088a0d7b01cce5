"""What all reference agents share: verbs that do nothing unless a rule says otherwise, and fair ties."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows

_TIE = 1e-6
"""Values this close (relative to the row's largest magnitude, at least 1) are tied: below every difference that matters
in float32, above rounding. Always the first index would couple the choice to the order of the arms."""


ORACLE = Card(
    method="oracle",
    reference=True,
    clue="task",
    supervision="prior",
    decode_rule="rule",
    exact_reference="exact",
)
"""The card of whoever is told the task."""


class Reference:
    """A reference with an empty memory; rules override the verbs that they need."""

    card: Card

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Any:
        """Nothing to remember but how many rows there are (a leaf that leads with B)."""
        return torch.zeros(len(rng), 0, device=rng.device)

    def begin(self, memory: Any, rng: Rows, *, episode: int) -> Any:
        """Nothing to plan."""
        return memory

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The rule itself."""
        raise NotImplementedError

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        """Nothing to learn."""
        return memory

    def adapt(self, memory: Any, rng: Rows, *, episode: int, last: bool) -> Any:
        """Nothing to learn between episodes."""
        return memory


def argmax_random_ties(values: Float[Tensor, "B A"], rng: Rows) -> Int[Tensor, " B"]:
    """An index of the largest value in each row, drawn evenly among ties."""
    best = values.amax(-1, keepdim=True)
    tied = values >= best - _TIE * best.abs().clamp(min=1.0)
    return torch.where(tied, rng.uniform(values.shape[-1]), -1.0).argmax(-1)

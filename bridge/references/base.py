"""The base of all reference agents: verbs that do nothing by default, their cards, and random ties."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from bridge import memory as tree
from bridge.idle import Idle
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows

_TIE = 1e-6
"""Values this close (relative to the row's largest magnitude, at least 1) are tied: the limit is below every relevant
difference in float32 and above rounding. Taking the first index would tie the choice to the order of the arms."""


def reference_card(
    method: str, exact_reference: str, supervision: str = "prior", **fields: Any
) -> Card:
    """The card of a reference with a deterministic or random rule of its own."""
    return Card(
        method=method,
        reference=True,
        supervision=supervision,
        decode_rule="rule",
        exact_reference=exact_reference,
        **fields,
    )


def filled(rng: Rows, value: bool | int | float, *shape: int) -> Shaped[Tensor, "B *shape"]:
    """``value`` in every entry, ``[B, *shape]``, on the device of the noise: what a memory begins with."""
    return torch.full((len(rng), *shape), value, device=rng.device)


class Reference(Idle):
    """A reference with an empty memory; subclasses override the verbs that they need."""

    card: Card

    def __init__(self, family: Any, split: str = "id") -> None:
        self.family = family

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Any:
        """A memory without content, ``[B, 0]``."""
        return filled(rng, 0.0, 0)

    def act(self, memory: Any, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        """The rule itself."""
        raise NotImplementedError

    def observe(self, memory: Any, step: Step, carry: Any = None) -> Any:
        """``learn`` in live rows."""
        return tree.where(step.live, self.learn(memory, step), memory)

    def learn(self, memory: Any, step: Step) -> Any:
        """The memory after a step of live rows; by default as it is."""
        return memory


class Informed(Reference):
    """A reference that is given the task."""

    card = reference_card("oracle", "exact", clue="task")


def argmax_random_ties(values: Float[Tensor, "B A"], rng: Rows) -> Int[Tensor, " B"]:
    """An index of the largest value in each row, drawn uniformly among ties."""
    best = values.amax(-1, keepdim=True)
    tied = values >= best - _TIE * best.abs().clamp(min=1.0)
    return torch.where(tied, rng.uniform(values.shape[-1]), -1.0).argmax(-1)


def epsilon_greedy(
    greedy: Decision, epsilon: float | Float[Tensor, " B"], wander: Rows, action: Rows, actions: int
) -> Decision:
    """The greedy decision, or with probability ``epsilon`` a uniform one of ``actions``; each draw has its noise."""
    random = wander.uniform() < epsilon
    return Decision(torch.where(random, action.integers(actions), greedy.action))

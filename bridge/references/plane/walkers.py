"""Who walks a plane towards one point: the goal of the task that it is told, or the best place to wait without a clue.

Shape letters: B trials, G goals, P places.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.protocol import Card, Clues, Decision, Trial
from bridge.references.base import ORACLE, Reference
from bridge.rng import Rows
from bridge.tasks.base import Tasks
from bridge.tasks.goal_plane import STEP, WALL, GoalPlane, length

_SPACING = 0.05
"""Between neighbouring places that are tried."""


class Oracle(Reference):
    """Told the task, it walks to the goal along both sides at once, and makes up for wind and turned actions.

    No other walk is nearer at any step. Its memory is the task.
    """

    def __init__(self, family: GoalPlane, split: str) -> None:
        self.card = ORACLE
        self.family = family

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Tasks:
        """Read the task."""
        return clues.task

    def act(
        self, memory: Tasks, obs: Float[Tensor, "B 2"], rng: Rows, *, explore: bool
    ) -> Decision:
        """One step nearer."""
        return Decision(
            self.family.towards(self.family.destination(memory.params), obs, memory.params)
        )


class Blind(Reference):
    """Knows the split but nothing of its task, looks at no reward, and waits at the best place on average.

    Near: a walk could pass by more goals than a place is near to, or end some episodes by chance.
    """

    def __init__(self, family: GoalPlane, split: str) -> None:
        self.card = Card(
            method="blind",
            reference=True,
            supervision="prior",
            decode_rule="rule",
            exact_reference="near",
        )
        self.family = family
        self.place = _best_place(family, split)

    def act(self, memory: Any, obs: Float[Tensor, "B 2"], rng: Rows, *, explore: bool) -> Decision:
        """One step nearer."""
        return Decision(self.family.towards(self.place.to(obs.device).expand_as(obs), obs, {}))


def _best_place(family: GoalPlane, split: str) -> Float[Tensor, " 2"]:
    """Where to walk and wait, of a lattice of places; of equals the one nearest to the start."""
    s, horizon = family.split(split), family.trial(split).horizon
    side = torch.arange(-round(WALL / _SPACING), round(WALL / _SPACING) + 1) * _SPACING
    places = torch.cartesian_prod(side, side)
    places = places[length(places).argsort(stable=True)]
    goals, params = (
        family.prior_goals(split),
        family.sample(split, torch.zeros(1, dtype=torch.int64)).params,
    )
    walk = min(horizon, round(WALL / STEP))  # from then on it waits
    value = torch.zeros(len(places))
    for step in range(1, walk + 1):
        position = places.clamp(-STEP * step, STEP * step)
        pay = family.pay(length(position[:, None] - goals), params).mean(-1)
        value += pay * (1 + horizon - walk if step == walk else 1)
    return places[(value * (1 - 2 * family.value(s, "reward_sign", 0.0))).argmax()]

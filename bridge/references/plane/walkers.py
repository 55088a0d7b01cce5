"""Agents that walk a plane towards one point: the goal if they are given the task, or the best place to wait.

Shape letters: B trials, G goals, P places.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.protocol import Clues, Decision, Trial
from bridge.references.base import Informed, Reference, reference_card
from bridge.rng import Rows
from bridge.tasks.base import Tasks
from bridge.tasks.goal_plane import STEP, WALL, GoalPlane, Points, length

_SPACING = 0.05
"""Distance between neighbouring candidate places."""


class Oracle(Informed):
    """The oracle on planes: walks to the goal along both sides at once, and compensates for wind and turned actions.

    No other walk is nearer at any step. Its memory is the task.
    """

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Tasks:
        return clues.task

    def act(self, memory: Tasks, obs: Points, rng: Rows, *, explore: bool) -> Decision:
        target = self.family.destination(memory.params)
        return Decision(self.family.towards(target, obs, memory.params))


class Walker(Reference):
    """An agent that walks to ``memory["target"]``, ``[B, 2]``, as if there were no wind and no turned actions."""

    def act(self, memory: Any, obs: Points, rng: Rows, *, explore: bool) -> Decision:
        """One step nearer to the target."""
        return Decision(self.family.towards(memory["target"], obs, {}))


class Blind(Reference):
    """The best place to wait on average over the tasks of the split, without looking at rewards.

    Near: a walk could pass near more goals than a place, or end some episodes by chance.
    """

    card = reference_card("blind", "near")

    def __init__(self, family: GoalPlane, split: str) -> None:
        super().__init__(family)
        self.place = _best_place(family, split)
        step = family.value(family.split(split), "step_size", STEP)
        self.known = {} if step == STEP else {"step": torch.tensor([[step]])}

    def act(self, memory: Any, obs: Points, rng: Rows, *, explore: bool) -> Decision:
        """One step nearer to the place."""
        place = self.place.to(obs.device).expand_as(obs)
        return Decision(self.family.towards(place, obs, self.known))


def _best_place(family: GoalPlane, split: str) -> Float[Tensor, " 2"]:
    """The place of a lattice with the highest mean return of walking there and waiting; the nearest among equals."""
    s, horizon = family.split(split), family.trial(split).horizon
    side = torch.arange(-round(WALL / _SPACING), round(WALL / _SPACING) + 1) * _SPACING
    places = torch.cartesian_prod(side, side)
    places = places[length(places).argsort(stable=True)]
    goals = family.prior_goals(split)
    params = family.sample(split, torch.zeros(1, dtype=torch.int64)).params
    longest = family.value(s, "step_size", STEP)
    walk = min(horizon, math.ceil(round(WALL / longest, 6)))  # steps until it waits
    value = torch.zeros(len(places))
    for step in range(1, walk + 1):
        position = places.clamp(-longest * step, longest * step)
        pay = family.pay(length(position[:, None] - goals), params).mean(-1)
        value += pay * (1 + horizon - walk if step == walk else 1)
    return places[(value * (1 - 2 * family.value(s, "reward_sign", 0.0))).argmax()]

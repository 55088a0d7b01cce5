"""Darkrooms: an empty square room with one hidden goal; every step that arrives there pays 1, any other 0.

Two published rooms (``variant=``), whose numbers cannot be compared with each other:

* ``dpt``: 10 x 10 from the corner (0, 0), 100 steps, 40 episodes (Lee et al. 2023, "Supervised Pretraining Can Learn
  In-Context Reinforcement Learning"). Its goals are shuffled by numpy's RandomState(0); the last 20 are for testing.
* ``ad``: 9 x 9 from the centre (4, 4), 20 steps, 50 episodes (Laskin et al. 2022, "In-context Reinforcement Learning
  with Algorithm Distillation", Dark Room). No split of its goals was published; here it follows the same rule.

Training goals (``train=``): ``all`` of the room, the ``inner`` ones (axis ``goal_shell`` has goals farther out), those
on the outer frame, ``hole`` (axis ``hole`` has goals inside it), or those of which a coordinate is below half of the
room, ``cross`` (axis ``combination`` has the others: each coordinate is one of a training goal, but not with the
other). Of these, the last 20% of the shuffled list are ``id``, the 8% before them ``id_val``, the rest ``train``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from bridge.tasks.base import Axis
from bridge.tasks.goal_grid import (
    GoalAxis,
    GoalGrid,
    Goals,
    Grid,
    goal_shells,
    goals_by_distance,
    shuffled,
)

_MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1), (0, 0))  # right, left, up, down, stay
GRIDS = {
    "dpt": Grid(
        size=10, start=(0, 0), moves=_MOVES, horizon=100, episodes=40, at_goal=1.0, elsewhere=0.0
    ),
    "ad": Grid(
        size=9, start=(4, 4), moves=_MOVES, horizon=20, episodes=50, at_goal=1.0, elsewhere=0.0
    ),
}
INNER = {"dpt": 9, "ad": 4}
"""The training goals of the variant ``inner`` are at most this many steps from the start."""
_SHELLS = {"dpt": (0.0, 1.0, 3.0, 5.0, 7.0), "ad": (0.0, 1.0, 2.0, 3.0, 4.0)}
_ID_SHARE, _ID_VAL_SHARE = 0.2, 0.08


@dataclass(frozen=True, kw_only=True)
class Darkroom(GoalGrid):
    """The dark rooms of DPT and of Algorithm Distillation."""

    variant: Literal["dpt", "ad"] = "dpt"
    """The paper that the room is from."""
    train: Literal["all", "inner", "hole", "cross"] = "all"
    """The training goals."""

    name: ClassVar[str] = "darkroom"

    @property
    def grid(self) -> Grid:
        return GRIDS[self.variant]

    @cached_property
    def streams(self) -> Mapping[str, Goals]:
        goals = tuple(goal for goal in shuffled(self.grid.cells) if self._trains(goal))
        held_out, tuning = round(_ID_SHARE * len(goals)), round(_ID_VAL_SHARE * len(goals))
        first = len(goals) - held_out
        return {
            "train": goals[: first - tuning],
            "id_val": goals[first - tuning : first],
            "id": goals[first:],
        }

    def _trains(self, goal: tuple[int, int]) -> bool:
        """True if ``goal`` is in the training distribution of this variant."""
        if self.train == "inner":
            return self.grid.steps_from_start(goal) <= INNER[self.variant]
        if self.train == "cross":
            return min(goal) < self.grid.size // 2
        return self.train == "all" or self.grid.depth(goal) == 0

    @cached_property
    def goal_axes(self) -> Mapping[str, GoalAxis]:
        if self.train == "all":
            return {}
        if self.train == "hole":
            return {"hole": _hole(self.grid)}
        if self.train == "cross":
            return {"combination": _combination(self.grid)}
        return {"goal_shell": goal_shells(self.grid, INNER[self.variant], _SHELLS[self.variant])}


def _hole(grid: Grid) -> GoalAxis:
    """Axis ``hole``: goals inside the outer frame of training goals, one ring of cells a level."""
    axis = Axis(
        "cells from the outer frame",
        (0.0, 1.0, 2.0, 3.0, 4.0),
        "agents that know the training goals",
    )
    return goals_by_distance(grid, axis, grid.depth)


def _combination(grid: Grid) -> GoalAxis:
    """Axis ``combination``: goals whose coordinates are both in the upper half, farther from its edge a level."""
    axis = Axis(
        "cells inside the quarter without training goals",
        (0.0, 1.0, 2.0, 3.0, 4.0),
        "agents that know the training goals, not their coordinates",
    )
    return goals_by_distance(grid, axis, lambda cell: 1 + min(cell) - grid.size // 2)

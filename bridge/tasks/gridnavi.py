"""GridNavi: VariBAD's 5 x 5 grid world; a Bayes-optimal agent sweeps the room, later walks straight to the goal.

Zintgraf et al. 2020, "VariBAD: A Very Good Method for Bayes-Adaptive Deep RL via Meta-Learning", section 5.1: from
(0, 0) towards one of 21 goals (all cells but the 2 x 2 block at the start), +1 on every step that arrives at the goal
and -0.1 on every other, 15 steps an episode, 4 episodes a trial.

``id_val`` and ``id`` have the same goals as ``train``, as published: trials are held out, not tasks. With
``train=inner`` the far goals are held out, for axis ``goal_shell``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from bridge.tasks.base import STREAMS
from bridge.tasks.goal_grid import GoalAxis, GoalGrid, Goals, Grid, goal_shells, shuffled

_MOVES = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))  # stay, up, right, down, left
GRIDNAVI = Grid(
    size=5, start=(0, 0), moves=_MOVES, horizon=15, episodes=4, at_goal=1.0, elsewhere=-0.1
)
INNER = 4
"""The training goals of the variant ``inner`` are at most this many steps from the start."""


@dataclass(frozen=True, kw_only=True)
class GridNavi(GoalGrid):
    """VariBAD's grid world."""

    train: Literal["all", "inner"] = "all"
    """The training goals: all 21, or the 11 within four steps of the start."""

    name: ClassVar[str] = "gridnavi"

    @property
    def grid(self) -> Grid:
        return GRIDNAVI

    @cached_property
    def streams(self) -> Mapping[str, Goals]:
        reach = INNER if self.train == "inner" else 2 * GRIDNAVI.size
        goals = shuffled(cell for cell in GRIDNAVI.cells if max(cell) > 1)
        goals = tuple(goal for goal in goals if GRIDNAVI.steps_from_start(goal) <= reach)
        return dict.fromkeys(STREAMS, goals)

    @cached_property
    def goal_axes(self) -> Mapping[str, GoalAxis]:
        if self.train == "all":
            return {}
        return {"goal_shell": goal_shells(GRIDNAVI, INNER, (0.0, 1.0, 2.0, 3.0, 4.0))}

"""The base of grid worlds with one hidden goal: movement, rewards and shift axes.

A trial is K episodes of H steps on a square of cells, each from the same start, with one goal that the observation does
not contain. An episode does not end at the goal: every step that *arrives* there is paid, so that finding the goal
pays for all remaining steps. Cell (x, y) has the number ``x * size + y``.

On axes that draw a permutation or a sign for each task, the number of tasks is unlimited and task i has goal number
``i mod G``; on all other splits each goal is one task.

Shape letters: B trials, G goals, H steps, A = 5 actions, C cells.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import inf
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.config import CountOrZero
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Box, Discrete, Outcome, Split, Tasks, row_entries
from bridge.tasks.description import Description
from bridge.tasks.episodic import EpisodicFamily
from bridge.tasks.widened import LEVELS

Cell = tuple[int, int]
Goals = tuple[Cell, ...]

_MOVE_NAMES = {(0, 0): "stay", (0, 1): "up", (1, 0): "right", (0, -1): "down", (-1, 0): "left"}

_SHARED_AXES = {
    "action_permutation": Axis(
        "actions displaced",
        (0.0, 2.0, 3.0, 4.0, 5.0),
        "agents that take the effects of actions as known",
    ),
    "changes": shifts.CHANGES,
    "obs_noise": shifts.obs_noise("cells", (0.25, 0.5, 1.0, 2.0)),
    "obs_permutation": shifts.OBS_PERMUTATION,
    "reward_scale": shifts.reward_scale("exact agents at factors below 1/2"),
    "reward_sign": shifts.REWARD_SIGN,
    "slip": Axis("probability of a random action", (0.0, 0.05, 0.1, 0.2, 0.4), "open-loop plans"),
}


class GoalAxis(NamedTuple):
    """A shift axis that changes the set of goals."""

    axis: Axis
    levels: tuple[Goals, ...]
    """The goals at levels 1 to 4."""


class Grid(NamedTuple):
    """A grid world without its goal: cells, moves, lengths and rewards."""

    size: int
    """Cells along an edge."""
    start: Cell
    moves: tuple[Cell, ...]
    """The displacement (x, y) of each action; walls clip."""
    horizon: int
    """Steps in an episode."""
    episodes: int
    """Episodes in a trial."""
    at_goal: float
    """Reward of a step that arrives at the goal."""
    elsewhere: float
    """Reward of any other step."""

    @property
    def cells(self) -> Goals:
        """Every (x, y), in the order of their numbers."""
        return tuple((x, y) for x in range(self.size) for y in range(self.size))

    def number(self, xy: Tensor) -> Int[Tensor, " *any"]:
        """The numbers of the cells nearest to coordinates ``[..., 2]`` of any dtype."""
        xy = xy.round().to(torch.int64) if xy.is_floating_point() else xy
        return xy[..., 0] * self.size + xy[..., 1]

    @property
    def start_number(self) -> int:
        """The number of the start."""
        return self.number_of(self.start)

    def number_of(self, cell: Cell) -> int:
        """The number of one cell."""
        return cell[0] * self.size + cell[1]

    def steps_from_start(self, cell: Cell) -> int:
        """Manhattan distance, which is the length of a shortest walk: there are no obstacles."""
        return abs(cell[0] - self.start[0]) + abs(cell[1] - self.start[1])

    def depth(self, cell: Cell) -> int:
        """Distance to the nearest cell of the outer frame."""
        return min(*cell, self.size - 1 - cell[0], self.size - 1 - cell[1])


@lru_cache
def move_table(grid: Grid, device: torch.device) -> Int[Tensor, "A 2"]:
    """The displacement (x, y) of each action."""
    return torch.tensor(grid.moves, device=device)


@lru_cache
def arrival_table(grid: Grid, device: torch.device) -> Int[Tensor, "C A"]:
    """The number of the cell that each action leads to from each cell."""
    arrival = torch.tensor(grid.cells)[:, None] + torch.tensor(grid.moves)
    return grid.number(arrival.clamp(0, grid.size - 1)).to(device)


def solve(
    grid: Grid,
    goal: Int[Tensor, " G"],
    factor: Float[Tensor, " G"],
    slip: Float[Tensor, " G"],
    horizon: int,
) -> Float[Tensor, "G H C A"]:
    """Optimal action values given the task, in float64; entry ``[:, h]`` has h + 1 steps to go.

    Exact finite-horizon value iteration over cells. ``goal`` is a cell number, ``factor`` multiplies rewards, ``slip``
    is the probability that a uniform action replaces the chosen one.
    """
    arrival = arrival_table(grid, goal.device)
    cells = torch.arange(len(arrival), device=goal.device)
    reward = torch.where(cells == goal[:, None], grid.at_goal, grid.elsewhere).double()
    pay = reward * factor.double()[:, None]
    slip = slip.double()[:, None, None]
    value = torch.zeros_like(pay)
    values = []
    for _ in range(horizon):
        intended = (pay + value)[:, arrival]  # [G, C, A]
        values.append((1 - slip) * intended + slip * intended.mean(-1, keepdim=True))
        value = values[-1].amax(-1)
    return torch.stack(values, 1)


@dataclass(frozen=True, kw_only=True)
class GoalGrid(EpisodicFamily):
    """A grid world with one hidden goal; subclasses define the grid and the goals."""

    episodes: CountOrZero = 0
    """Episodes in a trial (0: the published number)."""

    neutral: ClassVar[Mapping[str, Any]] = {"slip": 0.0, "permutation": range(5)}

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """The grid of this variant, as published."""

    @property
    @abstractmethod
    def streams(self) -> Mapping[str, Goals]:
        """The goals of ``train``, ``id_val`` and ``id``, shuffled: ``tasks=N`` takes the first N of ``train``."""

    @property
    @abstractmethod
    def goal_axes(self) -> Mapping[str, GoalAxis]:
        """The axes that change the goals, by name."""

    # --- splits ------------------------------------------------------------------------------------------------------
    @property
    def trained_trial(self) -> Trial:
        return Trial(self.episodes or self.grid.episodes, self.grid.horizon)

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        delay = {"reward_delay": shifts.reward_delay(self.grid.horizon)}
        return _SHARED_AXES | delay | {name: moved.axis for name, moved in self.goal_axes.items()}

    def goals(self, split: str) -> Goals:
        """The goals of the tasks of ``split``: task i has goal ``i mod G``, unless training tasks are widened."""
        found = self._goals(self.split(split))
        if split == "train" and self.wide in self.goal_axes:
            found += sum(self.goal_axes[self.wide].levels[:LEVELS], ())
        return found

    def _goals(self, split: Split) -> Goals:
        return self._shifted_goals(split) or self.streams[split.stream]

    def prior_goals(self, split: str) -> Goals:
        """All goals of the distribution behind ``split``: held-out goals of a stream are from the same distribution."""
        every = tuple(sorted(set().union(*self.streams.values())))
        return self._shifted_goals(self.split(split)) or every

    def _shifted_goals(self, split: Split) -> Goals:
        """The goals of a split of one of ``goal_axes``, () for any other."""
        moved = self.goal_axes.get(split.axis or "")
        return moved.levels[split.level - 1] if moved and split.level else ()

    def signature(self) -> Any:
        return {
            "grid": self.grid,
            "streams": dict(self.streams),
        }

    def describe(self) -> Description:
        grid = self.grid
        return Description(
            setting=f"There is a room of {grid.size} x {grid.size} cells, from (0, 0) at the lower left to "
            f"({grid.size - 1}, {grid.size - 1}) at the upper right. Each episode starts in cell {grid.start}. One "
            "cell is the goal, the same in every episode, and nothing marks it. A step that arrives there pays "
            f"{grid.at_goal:g}, any other pays {grid.elsewhere:g}.",
            action="move",
            step="step",
            pays=f"{grid.elsewhere:g} or {grid.at_goal:g}",
            names=tuple(_MOVE_NAMES[move] for move in grid.moves),
            place="cell",
        )

    def _support(self, split: Split) -> int | None:
        if split.level and split.axis in ("action_permutation", "reward_sign"):
            return None
        return len(self.goals(split.name))

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        goals = torch.tensor(self._goals(split), device=index.device)
        params = {"goal": goals[index % len(goals)]}
        if displaced := int(self.value(split, "action_permutation", 0.0)):
            u = noise.at("permutation").uniform(len(self.grid.moves))
            params["permutation"] = cycle(displaced, u)
        if slip := self.value(split, "slip", 0.0):
            params["slip"] = torch.full(index.shape, slip, device=index.device)
        return params | shifts.factor(self, split, noise)

    # --- the simulator -----------------------------------------------------------------------------------------------
    @property
    def observation(self) -> Box:
        return Box((0.0, 0.0), (self.grid.size - 1.0, self.grid.size - 1.0))

    @property
    def action(self) -> Discrete:
        return Discrete(len(self.grid.moves))

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Int[Tensor, "B 2"], Float[Tensor, "B 2"]]:
        state = torch.tensor(self.grid.start, device=tasks.index.device).repeat(len(tasks.index), 1)
        return state, state.float()

    def step(
        self, tasks: Tasks, state: Int[Tensor, "B 2"], action: Int[Tensor, " B"], noise: Rows
    ) -> Outcome:
        if "permutation" in tasks.params:
            action = row_entries(tasks.params["permutation"], action)
        if "slip" in tasks.params:
            slipped = noise.at("slip").uniform() < tasks.params["slip"]
            action = torch.where(slipped, noise.at("slip/action").integers(self.action.n), action)
        state = (state + move_table(self.grid, state.device)[action]).clamp_(0, self.grid.size - 1)
        found = (state == tasks.params["goal"]).all(-1)
        reward = torch.where(found, self.grid.at_goal, self.grid.elsewhere)
        return Outcome(state, state.float(), shifts.paid(reward, tasks.params))

    # --- for the evaluator -------------------------------------------------------------------------------------------
    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """Exact by value iteration, once for each distinct (goal, factor, slip)."""
        goal = self.grid.number(tasks.params["goal"])
        factor = tasks.params.get("factor", torch.ones(len(goal), device=goal.device))
        slip = tasks.params.get("slip", torch.zeros(len(goal), device=goal.device))
        rows = torch.stack([goal.float(), factor, slip])
        kinds, kind = torch.unique(rows, dim=1, return_inverse=True)
        values = solve(self.grid, kinds[0].long(), kinds[1], kinds[2], trial.horizon)
        return values[:, -1, self.grid.start_number].amax(-1).float()[kind]

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"]:
        """True if the step arrives at the goal."""
        return (step.next_obs == tasks.params["goal"]).all(-1)

    def dense_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        """The negative number of steps to the goal."""
        return -(step.next_obs - tasks.params["goal"]).abs().sum(-1)


def shuffled(goals: Iterable[Cell]) -> Goals:
    """Goals in the order of ``np.random.RandomState(0).shuffle``, as in the published split."""
    listed = np.array(list(goals))
    np.random.RandomState(0).shuffle(listed)
    return tuple((int(x), int(y)) for x, y in listed)


def goal_shells(
    grid: Grid, radius: int, beyond: tuple[float, float, float, float, float]
) -> GoalAxis:
    """Axis ``goal_shell``: goals farther from the start than ``radius``, in shells that begin ``beyond`` it."""
    axis = Axis(
        "steps beyond the training goals",
        beyond,
        "agents that search only where training goals were",
    )
    return goals_by_distance(grid, axis, lambda cell: grid.steps_from_start(cell) - radius)


def goals_by_distance(grid: Grid, axis: Axis, away: Callable[[Cell], int]) -> GoalAxis:
    """The axis whose levels are cells by their distance ``away``, each from its value up to that of the next level."""
    levels = []
    for near, far in pairwise((*axis.values[1:], inf)):
        levels.append(tuple(cell for cell in grid.cells if near <= away(cell) < far))
    return GoalAxis(axis, tuple(levels))


def cycle(displaced: int, u: Float[Tensor, "B A"]) -> Int[Tensor, "B A"]:
    """A permutation a row that moves ``displaced`` actions round one cycle and keeps the others.

    The order of ``u`` determines the actions and their order: all such cycles are equally likely, and for the same
    ``u`` fewer displaced actions are a subset of more.
    """
    order = u.argsort(-1)
    follows = order.clone()
    follows[:, :displaced] = order[:, :displaced].roll(-1, -1)
    return torch.empty_like(order).scatter_(-1, order, follows)

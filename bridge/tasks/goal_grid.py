"""What every grid world with one hidden goal shares: how cells are walked, what is paid, and the shift axes.

A trial is K episodes of H steps on a square of cells, each from the same start, towards one goal that the observation
does not show. An episode never ends at the goal: every step whose *arrival* cell is the goal is paid, so that finding
it once is worth all the steps that are left. Cell (x, y) has the number ``x * size + y``.

Where an axis gives each task a permutation or a sign of its own, tasks are as many as one asks for, and task i has goal
number ``i mod G``; everywhere else there is one task a goal.

Shape letters: B trials, G goals, H steps, A = 5 actions, C cells.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Box, Discrete, Outcome, Split, TaskFamily, Tasks

Cell = tuple[int, int]
Goals = tuple[Cell, ...]

_SHARED_AXES = {
    "action_permutation": Axis(
        "actions displaced", (0.0, 2.0, 3.0, 4.0, 5.0), "all that trust what actions do"
    ),
    "reward_scale": shifts.reward_scale("exact agents below 1/2"),
    "reward_sign": shifts.REWARD_SIGN,
    "slip": Axis(
        "probability of a random action",
        (0.0, 0.05, 0.1, 0.2, 0.4),
        "plans that are not closed loops",
    ),
}


class GoalAxis(NamedTuple):
    """A shift axis that moves the goals themselves."""

    axis: Axis
    levels: tuple[Goals, ...]
    """The goals at levels 1 to 4."""


class Grid(NamedTuple):
    """One grid world but for its goal: the floor, the clock and the pay."""

    size: int
    """Cells along an edge."""
    start: Cell
    moves: tuple[Cell, ...]
    """What each action adds to (x, y); walls clip."""
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
        """The cell numbers of coordinates ``[..., 2]``, as whole numbers or as observations."""
        xy = xy.to(torch.int64)
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
    """What each action adds to (x, y)."""
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
    """Optimal action values for who knows the task, in float64; entry ``[:, h]`` has h + 1 steps to go.

    Exact finite-horizon value iteration over cells. ``goal`` is a cell number, ``factor`` multiplies rewards, ``slip``
    is the probability that a uniform action replaces the chosen one.
    """
    arrival = arrival_table(grid, goal.device)
    cells = torch.arange(len(arrival), device=goal.device)
    pay = (
        torch.where(cells == goal[:, None], grid.at_goal, grid.elsewhere).double()
        * factor.double()[:, None]
    )
    slip = slip.double()[:, None, None]
    value = torch.zeros_like(pay)
    values = []
    for _ in range(horizon):
        intended = (pay + value)[:, arrival]  # [G, C, A]
        values.append((1 - slip) * intended + slip * intended.mean(-1, keepdim=True))
        value = values[-1].amax(-1)
    return torch.stack(values, 1)


@dataclass(frozen=True, kw_only=True)
class GoalGrid(TaskFamily):
    """A grid world with one hidden goal; a family names its grid and its goals."""

    episodes: int = 0
    """Episodes in a trial (0: the published number)."""

    def __post_init__(self) -> None:
        if self.episodes < 0:
            raise UserError(
                f"episodes must be 0 (the published number) or more, found {self.episodes}."
            )
        super().__post_init__()

    @property
    @abstractmethod
    def grid(self) -> Grid:
        """The grid of this variant, as published."""

    @property
    @abstractmethod
    def streams(self) -> Mapping[str, Goals]:
        """The goals of ``train`` (``tasks=N`` takes the first N, so in no telling order), ``id_val`` and ``id``."""

    @property
    @abstractmethod
    def goal_axes(self) -> Mapping[str, GoalAxis]:
        """The axes that move the goals, by name."""

    # --- splits ------------------------------------------------------------------------------------------------------
    @cached_property
    def axes(self) -> Mapping[str, Axis]:
        axes = _SHARED_AXES | {name: moved.axis for name, moved in self.goal_axes.items()}
        lengths = {
            "context_length": shifts.context_length(self.episodes or self.grid.episodes),
            "horizon": shifts.horizon(self.grid.horizon),
        }
        return dict(sorted({**axes, **lengths}.items()))

    def goals(self, split: str) -> Goals:
        """The goals that ``split`` draws its tasks from: task i has goal ``i mod G``."""
        return self._goals(self.split(split))

    def prior_goals(self, split: str) -> Goals:
        """All goals of the generator behind ``split``: the held-out goals of a stream come from the same one."""
        s = self.split(split)
        return (
            self._goals(s)
            if self._moves_goals(s)
            else tuple(sorted(set().union(*self.streams.values())))
        )

    def _goals(self, split: Split) -> Goals:
        moved = self._moves_goals(split)
        return moved.levels[split.level - 1] if moved else self.streams[split.stream]

    def _moves_goals(self, split: Split) -> GoalAxis | None:
        return self.goal_axes.get(split.axis) if split.axis and split.level else None

    def signature(self) -> Any:
        return {
            "grid": self.grid,
            "streams": dict(self.streams),
            "moved": {n: m.levels for n, m in self.goal_axes.items()},
        }

    def _support(self, split: Split) -> int | None:
        return (
            None
            if split.level and split.axis in ("action_permutation", "reward_sign")
            else len(self._goals(split))
        )

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        goals = torch.tensor(self._goals(split), device=index.device)
        params = {"goal": goals[index % len(goals)]}
        if displaced := int(self.value(split, "action_permutation", 0.0)):
            params["permutation"] = _cycle(
                displaced, noise.at("permutation").uniform(len(self.grid.moves))
            )
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

    def trial(self, split: str) -> Trial:
        return shifts.trial(self, split, self.episodes or self.grid.episodes, self.grid.horizon)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Int[Tensor, "B 2"], Float[Tensor, "B 2"]]:
        state = torch.tensor(self.grid.start, device=tasks.index.device).repeat(len(tasks.index), 1)
        return state, state.float()

    def step(
        self, tasks: Tasks, state: Int[Tensor, "B 2"], action: Int[Tensor, " B"], noise: Rows
    ) -> Outcome:
        if "permutation" in tasks.params:
            action = tasks.params["permutation"].gather(-1, action[:, None]).squeeze(-1)
        if "slip" in tasks.params:
            slipped = noise.at("slip").uniform() < tasks.params["slip"]
            action = torch.where(slipped, noise.at("slip/action").integers(self.action.n), action)
        state = (state + move_table(self.grid, state.device)[action]).clamp_(0, self.grid.size - 1)
        found = (state == tasks.params["goal"]).all(-1)
        reward = torch.where(found, self.grid.at_goal, self.grid.elsewhere)
        return Outcome(state, state.float(), shifts.paid(reward, tasks.params))

    # --- what the evaluator asks -------------------------------------------------------------------------------------
    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """Exact by value iteration, once for each distinct (goal, factor, slip)."""
        goal = self.grid.number(tasks.params["goal"])
        factor = tasks.params.get("factor", torch.ones(len(goal), device=goal.device))
        slip = tasks.params.get("slip", torch.zeros(len(goal), device=goal.device))
        kinds, kind = torch.unique(
            torch.stack([goal.float(), factor, slip]), dim=1, return_inverse=True
        )
        values = solve(self.grid, kinds[0].long(), kinds[1], kinds[2], trial.horizon)
        return values[:, -1, self.grid.start_number].amax(-1).float()[kind]

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"]:
        """Arriving at the goal."""
        return (step.next_obs == tasks.params["goal"]).all(-1)

    def dense_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        """The negative number of steps to the goal."""
        return -(step.next_obs - tasks.params["goal"]).abs().sum(-1)


def shuffled(goals: Iterable[Cell]) -> Goals:
    """Goals in the order of ``np.random.RandomState(0).shuffle``, by which the published split is cut."""
    listed = np.array(list(goals))
    np.random.RandomState(0).shuffle(listed)
    return tuple((int(x), int(y)) for x, y in listed)


def goal_shells(
    grid: Grid, radius: int, beyond: tuple[float, float, float, float, float]
) -> GoalAxis:
    """Axis ``goal_shell``: goals further from the start than ``radius``, in shells that begin ``beyond`` it."""
    axis = Axis(
        "steps beyond the training goals", beyond, "all that search where training goals were"
    )
    edges = (*beyond[1:], inf)
    away = {cell: grid.steps_from_start(cell) - radius for cell in grid.cells}
    return GoalAxis(
        axis,
        tuple(tuple(c for c in away if near <= away[c] < far) for near, far in pairwise(edges)),
    )


def _cycle(displaced: int, u: Float[Tensor, "B A"]) -> Int[Tensor, "B A"]:
    """A permutation a row that moves ``displaced`` actions round one cycle and keeps the others.

    The order of ``u`` says which actions, and in which order: all such cycles are equally likely, and fewer displaced
    actions are a subset of more.
    """
    order = u.argsort(-1)
    follows = order.clone()
    follows[:, :displaced] = order[:, :displaced].roll(-1, -1)
    return torch.empty_like(order).scatter_(-1, order, follows)

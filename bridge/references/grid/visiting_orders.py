"""Search for a hidden goal: the value of a visiting order, and an upper bound for all policies.

Until the goal pays, an agent that does not know it observes only its own walk. So a policy is one *visiting order* of
the possible goals: walk to the first of them that is not refuted, episode after episode, until one pays; then take a
shortest walk there and stay. Its value is the expected return of K episodes if all these cells are equally likely.

Shape letters: G cells that may hold the goal, C cells in all, A actions, H steps, K episodes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from bridge.tasks.goal_grid import Goals, Grid, arrival_table

Order = tuple[int, ...]
"""Cell numbers, first to last."""


class SearchProblem(NamedTuple):
    """A grid, with the horizon and the episodes played, and the possible goals."""

    grid: Grid
    goals: Goals

    @property
    def support(self) -> Int[np.ndarray, " G"]:
        """The numbers of the cells that may hold the goal."""
        return np.array([self.grid.number_of(goal) for goal in self.goals])

    @property
    def first_step(self) -> Int[np.ndarray, " G"]:
        """The earliest step of an episode that can arrive at each possible goal; staying on the start takes one."""
        return np.array([max(1, self.grid.steps_from_start(goal)) for goal in self.goals])

    def gain(self, step: Int[np.ndarray, "*any"] | int) -> Float[np.ndarray, "*any"]:
        """The gain of an episode that first arrives at the goal with ``step`` (from 1) and then stays there."""
        steps = np.clip(self.grid.horizon + 1 - np.asarray(step), 0, None)
        return np.asarray((self.grid.at_goal - self.grid.elsewhere) * steps)

    def later(self, episode: int) -> Float[np.ndarray, " G"]:
        """The gain of all episodes after ``episode`` (from 0) by a shortest walk to the goal, by goal."""
        return (self.grid.episodes - 1 - episode) * self.gain(self.first_step)

    def never(self) -> float:
        """The return of a trial that never finds the goal; gains are relative to it."""
        return self.grid.episodes * self.grid.horizon * self.grid.elsewhere


def search_bound(problem: SearchProblem) -> float:
    """An upper bound on the expected return of any policy that starts without knowing the goal.

    In the first episode each step reaches at most one new cell, and none sooner than a walk from the start; in later
    episodes knowing the goal is optimal.
    """
    step = one_at_a_time(np.sort(problem.first_step)[None])[0]
    return problem.never() + float(np.mean(problem.gain(step) + problem.later(0)))


def one_at_a_time(first: Int[np.ndarray, "W G"]) -> Int[np.ndarray, "W G"]:
    """The earliest distinct steps that respect sorted release times: ``step_k = max(first_k, step_(k-1) + 1)``."""
    rank = np.arange(first.shape[1])
    return np.maximum.accumulate(first - rank, axis=1) + rank


def order_value(problem: SearchProblem, order: Order) -> float:
    """The expected return of a trial that follows ``order``; the same walk finds every goal, each at its own step."""
    toward, arrival = toward_table(problem.grid), arrivals(problem.grid)
    slot = {int(cell): i for i, cell in enumerate(problem.support)}
    left = dict.fromkeys(order)
    total = 0.0
    for episode in range(problem.grid.episodes):
        later = problem.later(episode)
        at = problem.grid.start_number
        for t in range(1, problem.grid.horizon + 1):
            if not left:
                break
            at = int(arrival[at, toward[at, next(iter(left))]])
            if at in left:
                del left[at]
                total += float(problem.gain(t) + later[slot[at]])
    return problem.never() + total / len(order)


# --- cells and moves, as numpy tables ---------------------------------------------------------------------------------


def arrivals(grid: Grid) -> Int[np.ndarray, "C A"]:
    """The cell that each action reaches from each cell."""
    return arrival_table(grid, torch.device("cpu")).numpy()


def distance_table(grid: Grid) -> Int[np.ndarray, "C C"]:
    """Steps of a shortest walk between any two cells (there are no obstacles)."""
    xy = np.array(grid.cells)
    return np.abs(xy[:, None] - xy).sum(-1)


@lru_cache
def toward_table(grid: Grid) -> Int[np.ndarray, "C C"]:
    """The first action of a shortest walk from one cell to another: the first of ``moves`` that comes nearest."""
    return distance_table(grid)[arrivals(grid)].argmin(1)  # [C, A, C] -> [C, C]

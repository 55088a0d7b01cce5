"""Good visiting orders for a search problem: two simple sweeps and a beam search, with a bound that may prove them.

The beam holds walks of equal length. Walks with equal position and visited cells are merged, and walks are ranked by
their gain plus an optimistic estimate of the rest. This never underestimates, so that its maximum over the dropped
walks bounds them all: a plan that reaches the bound is optimal.

Shape letters: W states of the beam, G cells that may hold the goal, C cells in all, A actions, H steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bridge.references.grid.visiting_orders import (
    Order,
    SearchProblem,
    arrivals,
    one_at_a_time,
    order_value,
    search_bound,
)
from bridge.tasks.goal_grid import Grid

BUDGET = 100_000
"""States in the beam times goals per state; it takes about two seconds at most."""
_TIE = 1e-9


class Plan(NamedTuple):
    """A visiting order and its value."""

    order: Order
    value: float
    """Expected return of a trial, summed over its episodes."""
    bound: float
    """Upper bound on the value of all policies."""

    @property
    def exact(self) -> bool:
        """True if the plan is proved optimal."""
        return self.value >= self.bound - _TIE


@lru_cache(maxsize=64)
def best_plan(problem: SearchProblem) -> Plan:
    """The best visiting order found, valued by the rule that the agents follow."""
    bound = search_bound(problem)
    sweeps = (serpentine(problem.grid), rings(problem.grid))
    sweep = _better(*(_plan(problem, order, bound) for order in sweeps))
    if sweep.exact:
        return sweep
    order, searched = beam_search(problem, sweep.value, BUDGET // len(problem.goals))
    bound = min(bound, searched)
    return _better(sweep._replace(bound=bound), _plan(problem, order, bound))


def _better(simple: Plan, other: Plan) -> Plan:
    """The plan of higher value, the simple one if they tie."""
    return other if other.value > simple.value + _TIE else simple


def _plan(problem: SearchProblem, order: Order, bound: float) -> Plan:
    """The plan that visits the possible goals in the order of ``order``."""
    possible = set(problem.support.tolist())
    order = tuple(cell for cell in order if cell in possible)
    return Plan(order, order_value(problem, order), bound)


def serpentine(grid: Grid) -> Order:
    """The start, then column after column, up and down in turn."""
    cells = np.arange(grid.size**2).reshape(grid.size, grid.size)
    cells[1::2] = cells[1::2, ::-1].copy()
    return tuple(dict.fromkeys([grid.start_number, *cells.flatten().tolist()]))


def rings(grid: Grid) -> Order:
    """The start, then once round the outer frame from (0, 0), then the next ring, and so inwards."""
    cells = np.arange(grid.size**2).reshape(grid.size, grid.size)
    sweep = [grid.start_number]
    while cells.size:
        sweep += cells[0].tolist()
        cells = np.rot90(cells[1:])
    return tuple(dict.fromkeys(sweep))


# --- beam search ------------------------------------------------------------------------------------------------------


class States(NamedTuple):
    """The states of a beam at one step."""

    at: Int[np.ndarray, " W"]
    """Current cells."""
    left: Bool[np.ndarray, "W G"]
    """True for the cells of the support that are not yet visited."""
    gain: Float[np.ndarray, " W"]
    """Return relative to never finding the goal, summed over the goals visited so far."""
    key: Int[np.ndarray, " W"]
    """A hash of ``left``, to merge states that differ only in their past."""
    order: Int[np.ndarray, "W G"]
    """Slots of the support in the order of their visits, then -1."""

    def rows(self, index: np.ndarray) -> States:
        """The states selected by ``index``."""
        return States(*(part[index] for part in self))


def beam_search(problem: SearchProblem, floor: float, width: int) -> tuple[Order, float]:
    """The best walk found, and an upper bound on every walk.

    Args:
        problem: the problem.
        floor: the expected return of a known plan; walks that cannot beat it are not followed.
        width: states kept at each step.

    Returns:
        The visiting order of the best walk that beats ``floor``, else any order; and the bound, an expected return.
    """
    support = problem.support
    start = np.zeros(1, np.int64)
    order = np.full((1, len(support)), -1)
    states = States(start, np.ones((1, len(support)), bool), np.zeros(1), start, order)
    dropped = floor = (floor - problem.never()) * len(support)
    for episode in range(problem.grid.episodes):
        states = states._replace(at=np.full(len(states.at), problem.grid.start_number))
        for t in range(1, problem.grid.horizon + 1):
            states = _distinct(_children(problem, states, episode, t))
            hope = states.gain + _optimism(problem, states, episode, t)
            ranked = np.argsort(-hope, kind="stable")
            ranked = ranked[hope[ranked] > floor + _TIE]
            if len(ranked) > width:
                dropped = max(dropped, float(hope[ranked[width]]))
            states = states.rows(ranked[:width])
            if (
                not len(ranked) or not states.left[0].any()
            ):  # no state left, or the best is complete
                return _result(problem, states, dropped)
    return _result(problem, states, dropped)


def _result(problem: SearchProblem, states: States, dropped: float) -> tuple[Order, float]:
    """The walk of the best state, with its unvisited cells at the end; and the bound in units of return."""
    order, bound = tuple(problem.support.tolist()), dropped
    if len(states.at):
        seen = states.order[0]
        order = (
            *problem.support[seen[seen >= 0]].tolist(),
            *problem.support[states.left[0]].tolist(),
        )
        bound = max(bound, float(states.gain[0]))
    return order, problem.never() + bound / len(problem.goals)


def _children(problem: SearchProblem, states: States, episode: int, t: int) -> States:
    """All states after every action of step ``t``, with the gains of new visits."""
    arrival = arrivals(problem.grid)
    at = arrival[states.at].reshape(-1)
    left, gain, key, order = (np.repeat(part, arrival.shape[1], 0) for part in states[1:])
    slot = np.full(len(arrival), -1)
    slot[problem.support] = np.arange(len(problem.support))
    row = np.flatnonzero((slot[at] >= 0) & left[np.arange(len(at)), slot[at]])
    found = slot[at[row]]
    order[row, (~left[row]).sum(1)] = found
    left[row, found] = False
    key[row] ^= _words(len(problem.support))[found]
    gain[row] += problem.gain(t) + problem.later(episode)[found]
    return States(at, left, gain, key, order)


def _distinct(states: States) -> States:
    """The best state of each (position, visited cells)."""
    ranked = np.lexsort((-states.gain, states.at, states.key))
    key, at = states.key[ranked], states.at[ranked]
    return states.rows(ranked[np.r_[True, (key[1:] != key[:-1]) | (at[1:] != at[:-1])]])


def _optimism(
    problem: SearchProblem, states: States, episode: int, t: int
) -> Float[np.ndarray, " W"]:
    """An upper bound on the gain of the unvisited cells.

    In the rest of this episode each step reaches at most one new cell, none sooner than a walk from here; from the next
    episode on, every goal is known.
    """
    xy = np.array(problem.grid.cells, dtype=np.int16)
    away = np.abs(xy[states.at][:, None] - xy[problem.support]).sum(-1).clip(1)  # [W, G]
    soonest = np.where(states.left, t + away, 1 + problem.grid.horizon).astype(np.int16)
    step = one_at_a_time(np.sort(soonest, axis=1))
    return problem.gain(step).sum(1) + states.left @ problem.later(episode)


def _words(n: int) -> Int[np.ndarray, " G"]:
    """A fixed random 64-bit word a cell; the key of a set of cells is the exclusive or of their words."""
    return np.random.default_rng(0).integers(-(2**63), 2**63 - 1, n)

"""In which order to look for a hidden goal: two simple sweeps and a beam search, with a proof where there is one.

The beam holds walks of equal length. Walks are merged where position and visited cells agree, and are ranked by what
they earned plus an optimistic rest. The rest never promises too little, so the largest promise among the dropped walks
bounds all that were not followed: where the best plan reaches it, no policy is better.

Shape letters: W states of the beam, G cells that may hold the goal, C cells in all, A actions, H steps.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from bridge.references.grid.visiting_orders import (
    Hunt,
    Order,
    arrivals,
    one_at_a_time,
    order_value,
    search_bound,
)
from bridge.tasks.goal_grid import Grid

BUDGET = 100_000
"""States that the beam keeps at a step, times the goals that each of them tracks: about two seconds at most."""
_TIE = 1e-9


class Plan(NamedTuple):
    """A visiting order and what it is worth."""

    order: Order
    value: float
    """Expected return of a trial, summed over its episodes."""
    bound: float
    """No policy is worth more."""

    @property
    def exact(self) -> bool:
        """Whether the plan is proved optimal."""
        return self.value >= self.bound - _TIE


@lru_cache(maxsize=64)
def best_plan(hunt: Hunt) -> Plan:
    """The best visiting order that we find, valued by the rule that the agents follow."""
    bound = search_bound(hunt)
    sweep = _better(
        *(_plan(hunt, order, bound) for order in (serpentine(hunt.grid), rings(hunt.grid)))
    )
    if sweep.exact:
        return sweep
    order, searched = beam_search(hunt, sweep.value, BUDGET // len(hunt.goals))
    bound = min(bound, searched)
    return _better(sweep._replace(bound=bound), _plan(hunt, order, bound))


def _better(simple: Plan, other: Plan) -> Plan:
    """The plan of higher value, the simpler one where they tie."""
    return other if other.value > simple.value + _TIE else simple


def _plan(hunt: Hunt, order: Order, bound: float) -> Plan:
    """The plan that visits those cells of ``order`` where the goal may be."""
    wanted = set(hunt.support.tolist())
    order = tuple(cell for cell in order if cell in wanted)
    return Plan(order, order_value(hunt, order), bound)


def serpentine(grid: Grid) -> Order:
    """The start, then column after column, up and down in turn."""
    size = grid.size
    sweep = [
        x * size + (y if x % 2 == 0 else size - 1 - y) for x in range(size) for y in range(size)
    ]
    return tuple(dict.fromkeys([grid.start_number, *sweep]))


def rings(grid: Grid) -> Order:
    """The start, then once round the outer frame from (0, 0), then the next ring, and so inwards."""
    end = grid.size - 1
    cells = []
    for d in range((end + 2) // 2):
        low, high = d, end - d
        corner = [(low, y) for y in range(low, high)] + [(x, high) for x in range(low, high)]
        back = [(high, y) for y in range(high, low, -1)] + [(x, low) for x in range(high, low, -1)]
        cells += corner + back or [(low, low)]
    return tuple(dict.fromkeys([grid.start_number, *(x * grid.size + y for x, y in cells)]))


# --- beam search ------------------------------------------------------------------------------------------------------


class States(NamedTuple):
    """What a beam holds at one step: where states are, what they have visited and what that was worth."""

    at: Int[np.ndarray, " W"]
    left: Bool[np.ndarray, "W G"]
    """Which cells of the support are not yet visited."""
    gain: Float[np.ndarray, " W"]
    """Return over never finding the goal, summed over the goals found so far."""
    key: Int[np.ndarray, " W"]
    """A hash of ``left``, to merge states that differ only in how they came about."""
    order: Int[np.ndarray, "W G"]
    """Slots of the support in the order of their visits, then -1."""

    def rows(self, index: np.ndarray) -> States:
        """Some of the states."""
        return States(*(part[index] for part in self))


def beam_search(hunt: Hunt, floor: float, width: int) -> tuple[Order, float]:
    """The best walk found, and an upper bound on every walk.

    Args:
        hunt: the problem.
        floor: the expected return of a plan that is known already; walks that cannot beat it are not followed.
        width: states kept at a step.

    Returns:
        The visiting order of the best walk that beats ``floor``, or any order; and the bound, an expected return.
    """
    support = hunt.support
    start = np.zeros(1, np.int64)
    order = np.full((1, len(support)), -1)
    states = States(start, np.ones((1, len(support)), bool), np.zeros(1), start, order)
    dropped = floor = (floor - hunt.never()) * len(support)
    for episode in range(hunt.grid.episodes):
        states = states._replace(at=np.full(len(states.at), hunt.grid.start_number))
        for t in range(1, hunt.grid.horizon + 1):
            states = _distinct(_children(hunt, states, episode, t))
            hope = states.gain + _optimism(hunt, states, episode, t)
            ranked = np.argsort(-hope, kind="stable")
            ranked = ranked[hope[ranked] > floor + _TIE]
            if len(ranked) > width:
                dropped = max(dropped, float(hope[ranked[width]]))
            states = states.rows(ranked[:width])
            if (
                not len(ranked) or not states.left[0].any()
            ):  # none is left to follow, or the best is complete
                return _result(hunt, states, dropped)
    return _result(hunt, states, dropped)


def _result(hunt: Hunt, states: States, dropped: float) -> tuple[Order, float]:
    """The walk of the best state, cells that it never visits last; and the bound in units of return."""
    order, bound = tuple(hunt.support.tolist()), dropped
    if len(states.at):
        seen = states.order[0]
        order = (*hunt.support[seen[seen >= 0]].tolist(), *hunt.support[states.left[0]].tolist())
        bound = max(bound, float(states.gain[0]))
    return order, hunt.never() + bound / len(hunt.goals)


def _children(hunt: Hunt, states: States, episode: int, t: int) -> States:
    """Every state after every action of step ``t``, visits paid."""
    arrival = arrivals(hunt.grid)
    at = arrival[states.at].reshape(-1)
    left, gain, key, order = (np.repeat(part, arrival.shape[1], 0) for part in states[1:])
    slot = np.full(len(arrival), -1)
    slot[hunt.support] = np.arange(len(hunt.support))
    row = np.flatnonzero((slot[at] >= 0) & left[np.arange(len(at)), slot[at]])
    found = slot[at[row]]
    order[row, (~left[row]).sum(1)] = found
    left[row, found] = False
    key[row] ^= _words(len(hunt.support))[found]
    gain[row] += hunt.gain(t) + hunt.later(episode)[found]
    return States(at, left, gain, key, order)


def _distinct(states: States) -> States:
    """The best state of each (position, visited cells)."""
    ranked = np.lexsort((-states.gain, states.at, states.key))
    key, at = states.key[ranked], states.at[ranked]
    return states.rows(ranked[np.r_[True, (key[1:] != key[:-1]) | (at[1:] != at[:-1])]])


def _optimism(hunt: Hunt, states: States, episode: int, t: int) -> Float[np.ndarray, " W"]:
    """At least what the unvisited cells can still be worth.

    The rest of this episode reaches one new cell a step at most, each no sooner than a walk from here; from the next
    episode on, every goal is known.
    """
    xy = np.array(hunt.grid.cells, dtype=np.int16)
    away = np.abs(xy[states.at][:, None] - xy[hunt.support]).sum(-1).clip(1)  # [W, G]
    soonest = np.where(states.left, t + away, 1 + hunt.grid.horizon).astype(np.int16)
    step = one_at_a_time(np.sort(soonest, axis=1))
    return hunt.gain(step).sum(1) + states.left @ hunt.later(episode)


def _words(n: int) -> Int[np.ndarray, " G"]:
    """A fixed random 64-bit word a cell; the key of a set of cells is the exclusive or of theirs."""
    return np.random.default_rng(0).integers(-(2**63), 2**63 - 1, n)

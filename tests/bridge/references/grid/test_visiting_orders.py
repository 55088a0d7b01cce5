"""A visiting order against walks by hand, and the bound against all policies of a small room."""

from functools import cache

import numpy as np
import pytest

from bridge.references.grid.visiting_orders import (
    SearchProblem,
    arrivals,
    one_at_a_time,
    order_value,
    search_bound,
    toward_table,
)
from bridge.tasks.goal_grid import Grid
from bridge.tasks.gridnavi import GridNavi

MOVES = ((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1))
CASES = [
    (seed, horizon, episodes)
    for seed in range(6)
    for horizon, episodes in ((2, 2), (4, 1), (4, 2), (3, 3))
]


def room(seed: int, horizon: int, episodes: int) -> SearchProblem:
    """A 3 x 3 room with a random start and four random goals."""
    rng = np.random.default_rng(seed)
    cells = [(x, y) for x in range(3) for y in range(3)]
    start, *goals = (cells[i] for i in rng.permutation(9)[:5])
    goals = [*goals[:-1], start] if seed % 2 else goals
    return SearchProblem(
        Grid(3, start, MOVES, horizon, episodes, 1.0, -0.25 * (seed % 3)), tuple(sorted(goals))
    )


def optimum(problem: SearchProblem) -> float:
    """The best expected return over all walks, by recursion over (episode, step, cell, goals not yet visited)."""
    grid = problem.grid
    end = grid.size - 1

    def known(goal: tuple[int, int]) -> float:
        """The return of an episode for who knows the goal."""
        paid = max(
            0,
            grid.horizon + 1 - max(1, abs(goal[0] - grid.start[0]) + abs(goal[1] - grid.start[1])),
        )
        return paid * grid.at_goal + (grid.horizon - paid) * grid.elsewhere

    @cache
    def best(episode: int, t: int, cell: tuple[int, int], left: frozenset) -> float:
        """Summed over the goals that are left; ``t`` steps of this episode are over."""
        if episode == grid.episodes or not left:
            return 0.0
        if t == grid.horizon:
            return best(episode + 1, 0, grid.start, left)
        values = []
        for dx, dy in grid.moves:
            arrival = (max(0, min(end, cell[0] + dx)), max(0, min(end, cell[1] + dy)))
            value = best(episode, t + 1, arrival, left - {arrival}) + grid.elsewhere * len(
                left - {arrival}
            )
            if arrival in left:
                value += (grid.horizon - t) * grid.at_goal + (grid.episodes - 1 - episode) * known(
                    arrival
                )
            values.append(value)
        return max(values)

    return best(0, 0, grid.start, frozenset(problem.goals)) / len(problem.goals)


@pytest.mark.parametrize(("seed", "horizon", "episodes"), CASES)
def test_no_policy_exceeds_the_bound(seed: int, horizon: int, episodes: int) -> None:
    problem = room(seed, horizon, episodes)
    assert optimum(problem) <= search_bound(problem) + 1e-9


def test_the_bound_of_gridnavi() -> None:
    """Fourteen goals in steps 2 to 15 of the first episode: 94.5 - 10.5 over 21 goals; then 11.07 three times."""
    family = GridNavi()
    assert search_bound(SearchProblem(family.grid, family.prior_goals("id"))) == pytest.approx(
        4.0 + 3 * 232.5 / 21
    )


def test_a_walk_by_hand() -> None:
    """From (0, 0) in a row of three: stay (step 1), then (0, 1), (0, 2); four steps, two episodes."""
    problem = SearchProblem(Grid(3, (0, 0), MOVES, 4, 2, 1.0, -0.1), ((0, 0), (0, 1), (0, 2)))
    first = [4.0, 3 - 0.1, 2 - 0.2]
    second = [4.0, 4.0, 3 - 0.1]
    assert order_value(problem, (0, 1, 2)) == pytest.approx((sum(first) + sum(second)) / 3)


def test_the_search_goes_on_in_the_next_episode() -> None:
    """Two steps an episode: the corner at distance 4 is never reached, its neighbour at distance 2 in the second."""
    problem = SearchProblem(Grid(3, (0, 0), MOVES, 2, 3, 1.0, 0.0), ((0, 2), (2, 0), (2, 2)))
    assert order_value(problem, (2, 6, 8)) == pytest.approx((3 + 2 + 0) / 3)


def test_one_new_cell_a_step() -> None:
    first = np.array([[1, 1, 1, 5, 5, 9], [2, 3, 4, 5, 6, 7]])
    assert one_at_a_time(first).tolist() == [[1, 2, 3, 5, 6, 9], [2, 3, 4, 5, 6, 7]]


def test_every_first_step_comes_nearer() -> None:
    grid = GridNavi().grid
    xy = np.array(grid.cells)
    for here in range(25):
        for there in range(25):
            after = xy[arrivals(grid)[here, toward_table(grid)[here, there]]]
            now = np.abs(xy[here] - xy[there]).sum()
            assert np.abs(after - xy[there]).sum() == max(0, now - 1)

"""Plans are proved optimal exactly where they are, and the published values come out."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from bridge.references.grid.search_plan import beam_search, best_plan, rings, serpentine
from bridge.references.grid.visiting_orders import (
    Order,
    SearchProblem,
    arrivals,
    order_value,
    search_bound,
)
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.goal_grid import GoalGrid, Grid
from bridge.tasks.gridnavi import GridNavi
from tests.bridge.references.grid.test_visiting_orders import CASES, optimum, room


def problem_of(family: GoalGrid, split: str = "id") -> SearchProblem:
    trial = family.trial(split)
    grid = family.grid._replace(horizon=trial.horizon, episodes=trial.episodes)
    return SearchProblem(grid, family.prior_goals(split))


@pytest.mark.parametrize(("seed", "horizon", "episodes"), CASES)
def test_small_rooms_are_solved_and_proved(seed: int, horizon: int, episodes: int) -> None:
    problem = room(seed, horizon, episodes)
    plan = best_plan(problem)
    assert plan.value == pytest.approx(optimum(problem))
    assert plan.exact
    assert sorted(plan.order) == sorted(problem.support.tolist())


@pytest.mark.parametrize(("seed", "horizon", "episodes"), CASES)
def test_a_narrow_beam_proves_nothing_false(seed: int, horizon: int, episodes: int) -> None:
    problem = room(seed, horizon, episodes)
    order, bound = beam_search(problem, floor=problem.never(), width=1)
    assert order_value(problem, order) <= optimum(problem) + 1e-9 <= bound + 2e-9


def test_gridnavi_is_37_21_and_exact() -> None:
    plan = best_plan(problem_of(GridNavi()))
    assert plan.exact
    assert plan.value == pytest.approx(4 + 3 * 232.5 / 21)


@pytest.mark.parametrize("split", [f"shift/goal_shell/{level}" for level in range(1, 5)])
def test_shells_of_gridnavi_are_exact(split: str) -> None:
    """The cells of a shell lie on a diagonal, two steps apart: found at steps d, d + 2, ..., within one episode."""
    problem = problem_of(GridNavi(train="inner"), split)
    near, n = problem.grid.steps_from_start(problem.goals[0]), len(problem.goals)
    steps = [near + 2 * i for i in range(n)]
    first = sum((16 - t) - 0.1 * (t - 1) for t in steps) / n
    later = (16 - near) - 0.1 * (near - 1)
    plan = best_plan(problem)
    assert plan.exact
    assert plan.value == pytest.approx(first + 3 * later)


def test_the_dpt_room_is_swept_a_cell_a_step() -> None:
    """The start by staying, then a new cell at every step: 100, 99, ..., 1, and 91.99 in each later episode."""
    plan = best_plan(problem_of(Darkroom()))
    assert plan.exact
    assert plan.value == pytest.approx(50.5 + 39 * 91.99)
    assert plan.order == serpentine(Darkroom().grid)


def test_the_frame_of_the_dpt_room_is_walked_round() -> None:
    problem = problem_of(Darkroom(train="hole"))
    plan = best_plan(problem)
    assert plan.exact
    assert plan.order == tuple(cell for cell in rings(problem.grid) if cell in set(problem.support))


def test_the_ad_room_is_beaten_by_no_simple_sweep() -> None:
    """81 cells in 20 steps: the plan is worth 795.7 of at most 813.2, and more than either sweep."""
    problem = problem_of(Darkroom(variant="ad"))
    plan = best_plan(problem)
    assert not plan.exact
    assert (
        max(
            order_value(problem, serpentine(problem.grid)),
            order_value(problem, rings(problem.grid)),
        )
        < 790
        < 795
        < plan.value
    )
    assert plan.value < plan.bound <= search_bound(problem) == pytest.approx(813.2099, abs=1e-4)


@pytest.mark.parametrize("sweep", [serpentine, rings])
@pytest.mark.parametrize("grid", [GridNavi().grid, Darkroom().grid, Darkroom(variant="ad").grid])
def test_sweeps_visit_every_cell_once_by_single_steps(
    sweep: Callable[[Grid], Order], grid: Grid
) -> None:
    order = sweep(grid)
    assert order[0] == grid.start_number
    assert sorted(order) == list(range(grid.size**2))
    corner = grid.start == (0, 0)
    adjacent = [there in arrivals(grid)[here] for here, there in pairwise(order[1:])]
    assert all(adjacent) or not corner
    assert np.sum(~np.array(adjacent)) <= 1  # around a start in the middle, which was visited first

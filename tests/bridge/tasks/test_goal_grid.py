"""What the grid worlds share: their rules against a second, scalar writing of them, their axes, their exact values."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch

from bridge.errors import UserError
from bridge.play import transition
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Tasks
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.goal_grid import GoalAxis, GoalGrid, Goals, Grid, solve
from bridge.tasks.gridnavi import GridNavi

FAMILIES = {
    family.id: family
    for family in (
        GridNavi(),
        GridNavi(train="inner"),
        Darkroom(),
        Darkroom(train="inner"),
        Darkroom(train="hole"),
        Darkroom(variant="ad"),
        Darkroom(variant="ad", train="inner"),
        Darkroom(variant="ad", train="hole"),
    )
}
AXES = ("action_permutation", "horizon", "reward_scale", "reward_sign", "slip")
TINY = Grid(
    size=3,
    start=(1, 0),
    moves=((0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)),
    horizon=4,
    episodes=2,
    at_goal=2.0,
    elsewhere=-0.5,
)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> GoalGrid:
    return FAMILIES[request.param]


# --- the rules, written twice -----------------------------------------------------------------------------------------


def arrive(grid: Grid, cell: tuple[int, int], move: int) -> tuple[int, int]:
    """One step of one walker, in plain python."""
    x, y = cell[0] + grid.moves[move][0], cell[1] + grid.moves[move][1]
    return max(0, min(grid.size - 1, x)), max(0, min(grid.size - 1, y))


@pytest.mark.parametrize(
    "split", ["id", *(f"shift/{axis}/{level}" for axis in AXES for level in (1, 4))]
)
def test_every_step_follows_the_rules(family: GoalGrid, split: str) -> None:
    n, steps, grid = 24, 10, family.grid
    tasks = family.sample(split, torch.arange(n))
    state, obs = family.reset(tasks, Rows.of(0, torch.arange(n)))
    assert obs.tolist() == [[float(x) for x in grid.start]] * n
    places = [grid.start] * n
    actions = Rows.of("actions", torch.arange(n)).integers(5, steps)

    for t in range(steps):
        noise = Rows.of(0, torch.arange(n)).at("step", t)
        outcome = family.step(tasks, state, actions[:, t], noise)
        for row in range(n):
            params: dict[str, Any] = {
                name: value[row].tolist() for name, value in tasks.params.items()
            }
            move = params.get("permutation", range(5))[int(actions[row, t])]
            if float(noise[row : row + 1].at("slip").uniform()) < params.get("slip", 0):
                move = int(noise[row : row + 1].at("slip/action").integers(5))
            places[row] = arrive(grid, places[row], move)
            pay = grid.at_goal if list(places[row]) == params["goal"] else grid.elsewhere
            assert float(outcome.reward[row]) == pytest.approx(pay * params.get("factor", 1.0))
        assert (
            outcome.obs.tolist()
            == outcome.state.tolist()
            == [list(map(float, place)) for place in places]
        )
        assert outcome.terminated is None
        state = outcome.state


def test_a_row_alone_is_the_row_in_a_batch(family: GoalGrid) -> None:
    for split in ("id", "shift/slip/4", "shift/reward_sign/2", "shift/action_permutation/3"):
        many, one = family.sample(split, torch.arange(7)), family.sample(split, torch.tensor([5]))
        for name, value in one.params.items():
            assert torch.equal(value[0], many.params[name][5])
        state = torch.randint(family.grid.size, (7, 2), generator=torch.Generator().manual_seed(0))
        noise, action = Rows.of(0, torch.arange(7)), torch.arange(7) % 5
        together = family.step(many, state, action, noise)
        alone = family.step(one, state[5:6], action[5:6], noise[5:6])
        assert torch.equal(alone.state[0], together.state[5])
        assert torch.equal(alone.reward[0], together.reward[5])


def test_a_slip_ignores_the_chosen_action() -> None:
    family, n = GridNavi(), 4000
    tasks = family.sample("shift/slip/4", torch.arange(n))
    state, noise = torch.full((n, 2), 2), Rows.of(0, torch.arange(n))

    arrivals = torch.stack(
        [family.step(tasks, state, torch.full((n,), a), noise).state for a in range(5)]
    )

    slipped = (arrivals == arrivals[0]).all(0).all(-1)
    assert torch.equal(slipped, noise.at("slip").uniform() < 0.4)
    counts = torch.unique(arrivals[0][slipped], dim=0, return_counts=True)[1]
    assert len(counts) == 5
    assert ((counts / slipped.sum() - 0.2).abs() < 4 * (0.16 / slipped.sum()) ** 0.5).all()


def test_success_is_arrival_at_the_goal() -> None:
    family, right = GridNavi(), torch.tensor([1, 0])
    tasks = family.sample("id", torch.arange(21))
    before = (tasks.params["goal"] - right).clamp(0)
    noise = Rows.of(0, torch.arange(21))

    _, step = transition(
        family, tasks, before, before.float(), torch.full((21,), 2), noise, out_of_time=False
    )

    reached = (before + right == tasks.params["goal"]).all(-1)
    assert reached.sum() == 18  # three goals lie at x = 0
    assert torch.equal(family.success(tasks, step), reached)
    assert torch.equal(step.reward == 1.0, reached)


# --- axes -------------------------------------------------------------------------------------------------------------


def test_level_0_is_bitwise_the_id_split(family: GoalGrid) -> None:
    index = torch.tensor([0, 3, 25, 1000])
    trained = family.sample("id", index)
    for axis in family.axes:
        level_0 = family.sample(f"shift/{axis}/0", index)
        assert level_0.params.keys() == trained.params.keys() == {"goal"}
        assert torch.equal(level_0.params["goal"], trained.params["goal"])
        assert torch.equal(level_0.index, trained.index)
        assert family.trial(f"shift/{axis}/0") == family.trial("id")


def test_shared_axes_keep_the_goals_of_id(family: GoalGrid) -> None:
    index = torch.arange(200)
    goals = family.sample("id", index).params["goal"]
    for axis in AXES:
        for level in (1, 4):
            assert torch.equal(family.sample(f"shift/{axis}/{level}", index).params["goal"], goals)


def test_horizons_are_shares_of_the_published_one(family: GoalGrid) -> None:
    h, k = family.grid.horizon, family.grid.episodes
    horizons = [family.trial(f"shift/horizon/{level}") for level in range(5)]
    assert horizons == [Trial(k, n) for n in (h, h // 2, h * 3 // 2, h * 2, h * 4)]


def cycle_of(permutation: list[int]) -> tuple[int, ...]:
    """The one cycle of a permutation, from its smallest action."""
    start = next(a for a in range(5) if permutation[a] != a)
    cycle = [start]
    while permutation[cycle[-1]] != start:
        cycle.append(permutation[cycle[-1]])
    return tuple(cycle)


@pytest.mark.parametrize(
    ("level", "displaced", "kinds"), [(1, 2, 10), (2, 3, 20), (3, 4, 30), (4, 5, 24)]
)
def test_a_permutation_is_one_cycle_drawn_evenly(level: int, displaced: int, kinds: int) -> None:
    n = 6000
    drawn = (
        GridNavi()
        .sample(f"shift/action_permutation/{level}", torch.arange(n))
        .params["permutation"]
        .tolist()
    )

    cycles = [cycle_of(permutation) for permutation in drawn]

    assert all(sorted(permutation) == list(range(5)) for permutation in drawn)
    assert all(
        sum(a != b for a, b in enumerate(p)) == len(c) == displaced
        for p, c in zip(drawn, cycles, strict=True)
    )
    counts = torch.tensor([cycles.count(cycle) for cycle in set(cycles)])
    assert len(counts) == kinds
    assert ((counts / n - 1 / kinds).abs() < 4 * (1 / kinds / n) ** 0.5).all()


def test_more_displaced_actions_include_the_fewer() -> None:
    drawn = [
        GridNavi()
        .sample(f"shift/action_permutation/{level}", torch.arange(100))
        .params["permutation"]
        != torch.arange(5)
        for level in range(1, 5)
    ]
    for fewer, more in pairwise(drawn):
        assert bool((more | ~fewer).all())


@pytest.mark.parametrize(("level", "share"), [(1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)])
def test_a_share_of_tasks_is_negated_whatever_their_goal(level: int, share: float) -> None:
    n = 21 * 400
    factor = GridNavi().sample(f"shift/reward_sign/{level}", torch.arange(n)).params["factor"]
    assert set(factor.tolist()) <= {-1.0, 1.0}
    by_goal = (factor < 0).float().view(400, 21).mean(0)
    assert ((by_goal - share).abs() <= 4 * (share * (1 - share) / 400) ** 0.5).all()
    if level < 4:
        next_level = (
            GridNavi().sample(f"shift/reward_sign/{level + 1}", torch.arange(n)).params["factor"]
        )
        assert bool((next_level[factor < 0] < 0).all())


def test_tasks_with_a_draw_of_their_own_are_as_many_as_asked_for(family: GoalGrid) -> None:
    assert family.support("shift/reward_sign/1") is None
    assert family.support("shift/action_permutation/1") is None
    assert family.support("shift/slip/1") == family.support("id") == len(family.goals("id"))


# --- sets of goals ----------------------------------------------------------------------------------------------------


def test_held_out_goals_are_new(family: GoalGrid) -> None:
    train = set(family.goals("train"))
    for axis, moved in family.goal_axes.items():
        for level in range(1, 5):
            shifted = family.goals(f"shift/{axis}/{level}")
            assert len(set(shifted)) == len(shifted) > 0
            assert not set(shifted) & (
                train | set(family.goals("id")) | set(family.goals("id_val"))
            )
            assert shifted == moved.levels[level - 1]
    levels = [set(goals) for moved in family.goal_axes.values() for goals in moved.levels]
    assert sum(map(len, levels)) == len(set().union(*levels))


def test_fixed_tasks_are_the_first_of_one_order(family: GoalGrid) -> None:
    kind, goals = type(family), family.goals("train")
    fields = {name: getattr(family, name) for name in ("train", "variant") if hasattr(family, name)}
    for n in (1, 5, len(goals)):
        fixed = kind(tasks=n, **fields)
        drawn = [
            tuple(goal)
            for goal in fixed.sample("train", torch.arange(2 * n)).params["goal"].tolist()
        ]
        assert tuple(drawn) == goals[:n] * 2
        assert fixed.goals("id") == family.goals("id")
    assert list(goals) != sorted(goals)
    with pytest.raises(UserError, match=f"has {len(goals)} training tasks"):
        kind(tasks=len(goals) + 1, **fields)


def test_the_prior_is_the_support_of_the_generator(family: GoalGrid) -> None:
    streams = {goal for split in ("train", "id_val", "id") for goal in family.goals(split)}
    for split in ("train", "id", "id_val", "shift/slip/3"):
        assert set(family.prior_goals(split)) == streams
    for axis in family.goal_axes:
        assert family.prior_goals(f"shift/{axis}/2") == family.goals(f"shift/{axis}/2")


def test_hashes_tell_variants_apart() -> None:
    assert len({family.hash for family in FAMILIES.values()}) == len(FAMILIES)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="gridnavi needs episodes 0 or more; found -1"):
        GridNavi(episodes=-1)
    assert GridNavi(episodes=7).trial("id") == Trial(7, 15)


# --- exact values -----------------------------------------------------------------------------------------------------


def best_walk(grid: Grid, goal: tuple[int, int], steps: int) -> float:
    """A goal at distance d is first reached at step max(d, 1) and never left; one out of reach is never reached."""
    stayed = max(0, steps + 1 - max(1, grid.steps_from_start(goal)))
    return grid.at_goal * stayed + grid.elsewhere * (steps - stayed)


def test_without_slip_the_optimal_return_has_a_closed_form(family: GoalGrid) -> None:
    for split in ("train", "id", *(f"shift/horizon/{level}" for level in range(1, 5))):
        goals = family.goals(split)
        tasks, trial = family.sample(split, torch.arange(len(goals))), family.trial(split)
        expected = [best_walk(family.grid, goal, trial.horizon) for goal in goals]
        assert family.optimal_return(tasks, trial).tolist() == pytest.approx(expected, rel=1e-6)


def test_scaled_and_negated_tasks_have_a_closed_form(family: GoalGrid) -> None:
    tasks, trial = family.sample("shift/reward_sign/2", torch.arange(300)), family.trial("id")
    stays_away = -family.grid.elsewhere * trial.horizon
    expected = [
        best_walk(family.grid, tuple(goal), trial.horizon) if factor > 0 else stays_away
        for goal, factor in zip(
            tasks.params["goal"].tolist(), tasks.params["factor"].tolist(), strict=True
        )
    ]
    assert family.optimal_return(tasks, trial).tolist() == pytest.approx(expected, rel=1e-6)
    tasks = family.sample("shift/reward_scale/4", torch.arange(30))
    expected = [
        10 * best_walk(family.grid, tuple(goal), trial.horizon)
        for goal in tasks.params["goal"].tolist()
    ]
    assert family.optimal_return(tasks, trial).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("factor", "slip"), [(1.0, 0.0), (1.0, 0.4), (-1.0, 0.0), (-1.0, 0.25), (3.0, 1.0)]
)
def test_action_values_agree_with_a_recursion_over_single_cells(factor: float, slip: float) -> None:
    goal = (2, 2)

    @cache
    def value(cell: tuple[int, int], left: int) -> float:
        return max(action_value(cell, move, left) for move in range(5)) if left else 0.0

    def worth(cell: tuple[int, int], left: int) -> float:
        return factor * (TINY.at_goal if cell == goal else TINY.elsewhere) + value(cell, left)

    def action_value(cell: tuple[int, int], move: int, left: int) -> float:
        drift = sum(worth(arrive(TINY, cell, other), left - 1) for other in range(5)) / 5
        return (1 - slip) * worth(arrive(TINY, cell, move), left - 1) + slip * drift

    solved = solve(TINY, torch.tensor([8]), torch.tensor([factor]), torch.tensor([slip]), 4)[0]
    for left in range(1, 5):
        for number, cell in enumerate(TINY.cells):
            expected = [action_value(cell, move, left) for move in range(5)]
            assert solved[left - 1, number].tolist() == pytest.approx(expected, rel=1e-6)


def test_a_mixed_batch_is_solved_row_by_row() -> None:
    family, trial = GridNavi(), Trial(4, 15)
    parts = [family.sample(f"shift/{split}", torch.arange(9)) for split in ("slip/2", "slip/4")]
    mixed = Tasks(
        torch.arange(18), {k: torch.cat([p.params[k] for p in parts]) for k in parts[0].params}
    )
    apart = torch.cat([family.optimal_return(part, trial) for part in parts])
    assert torch.equal(family.optimal_return(mixed, trial), apart)


# --- a family of one's own --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Tiny(GoalGrid):
    name = "tiny"
    goal: int = 8

    @property
    def grid(self) -> Grid:
        return TINY

    @property
    def streams(self) -> dict[str, Goals]:
        return dict.fromkeys(("train", "id_val", "id"), (TINY.cells[self.goal],))

    @property
    def goal_axes(self) -> dict[str, GoalAxis]:
        return {}


def test_a_family_names_its_grid_and_its_goals() -> None:
    tasks = Tiny().sample("id", torch.arange(3))
    assert tasks.params["goal"].tolist() == [[2, 2]] * 3
    assert float(Tiny().optimal_return(tasks, Trial(2, 4))[0]) == 2 * 2.0 - 2 * 0.5
    assert [tuple(xy) for xy in TINY.cells] == [(x, y) for x in range(3) for y in range(3)]
    assert (
        TINY.number(torch.tensor(TINY.cells)).tolist()
        == [TINY.number_of(cell) for cell in TINY.cells]
        == [*range(9)]
    )


def test_the_dense_reward_tells_the_way() -> None:
    family = GridNavi()
    tasks = family.sample("train", torch.arange(4))
    goal = tasks.params["goal"]
    at = torch.tensor([[0.0, 0.0]]).expand(4, 2)
    never = torch.zeros(4, dtype=torch.bool)
    step = Step(at, never.long(), never.float(), at, never, never)
    assert family.dense_reward(tasks, step).tolist() == (-goal.sum(-1)).tolist()

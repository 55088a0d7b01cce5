"""What the planes share: their rules against a second, scalar writing of them, their axes, how best to walk."""

from itertools import pairwise
from math import hypot

import pytest
import torch
from scipy import stats

from bridge.errors import UserError
from bridge.play import transition
from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks.goal_plane import GoalPlane, length, shell
from bridge.tasks.point_nav import PointNav
from bridge.tasks.sparse_point import SparsePoint

FAMILIES = {
    family.id: family
    for family in (
        PointNav(),
        PointNav(variant="paper"),
        PointNav(variant="code"),
        PointNav(train="hole"),
        SparsePoint(),
        SparsePoint(variant="dense"),
    )
}
AXES = ("action_turn", "horizon", "reward_scale", "reward_sign", "wind")
LEAST_P = 1e-4


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> GoalPlane:
    return FAMILIES[request.param]


def random_actions(family: GoalPlane, rows: int, steps: int, beyond: float = 1.0) -> torch.Tensor:
    """Uniform actions, up to ``beyond`` times what the space allows."""
    return (
        beyond * family.reach * (2 * Rows.of("actions", torch.arange(rows)).uniform(steps, 2) - 1)
    )


# --- the rules, written twice -----------------------------------------------------------------------------------------


def moved(family: GoalPlane, place: list[float], action: list[float], params: dict) -> list[float]:
    """One step of one point, in plain python."""
    x, y = (max(-1.0, min(1.0, a / family.reach)) * 0.1 for a in action)
    cosine, sine = params.get("turn", (1, 0))
    x, y = cosine * x - sine * y, sine * x + cosine * y
    drift = params.get("wind", (0, 0))
    return [max(-2.0, min(2.0, p + m + w)) for p, m, w in zip(place, (x, y), drift, strict=True)]


def paid(family: GoalPlane, place: list[float], params: dict) -> tuple[float, bool]:
    """The reward of arriving, and whether that is the goal."""
    dx, dy = place[0] - params["goal"][0], place[1] - params["goal"][1]
    d = hypot(dx, dy)
    if isinstance(family, SparsePoint):
        near = d <= params.get("radius", 0.2)
        reward = -d if family.variant == "dense" else (1 - d if near else 0)
    else:
        near = d < 0.01 if family.variant == "paper" else abs(dx) < 0.01 and abs(dy) < 0.01
        reward = -d * d if family.variant == "paper" else -d
    return reward * params.get("factor", 1), near


@pytest.mark.parametrize(
    "split", ["id", *(f"shift/{axis}/{level}" for axis in AXES for level in (1, 4))]
)
def test_every_step_follows_the_rules(family: GoalPlane, split: str) -> None:
    n, steps = 24, 10
    tasks, noise = family.sample(split, torch.arange(n)), Rows.of(0, torch.arange(n))
    state, obs = family.reset(tasks, noise)
    assert obs.tolist() == [[0.0, 0.0]] * n
    places = [[0.0, 0.0]] * n
    actions = random_actions(family, n, steps, beyond=1.5)

    for t in range(steps):
        outcome = family.step(tasks, state, actions[:, t], noise.at("step", t))
        for row in range(n):
            params = {name: value[row].tolist() for name, value in tasks.params.items()}
            places[row] = moved(family, places[row], actions[row, t].tolist(), params)
            reward, _ = paid(family, places[row], params)
            assert float(outcome.reward[row]) == pytest.approx(reward, abs=1e-5)
        assert torch.allclose(outcome.obs, torch.tensor(places), atol=1e-6)
        assert torch.equal(outcome.obs, outcome.state)
        state = outcome.state


@pytest.mark.parametrize(
    "offset",
    [(0.0, 0.0), (0.0095, 0.0), (0.0095, 0.0095), (0.0105, 0.0), (0.19, 0.0), (0.15, 0.15)],
)
def test_arriving(family: GoalPlane, offset: tuple[float, float]) -> None:
    """Standing still beside the goal: what is paid, what ends, what is a success."""
    n = 4
    tasks, noise = family.sample("id", torch.arange(n)), Rows.of(0, torch.arange(n))
    state = tasks.params["goal"] + torch.tensor(offset)
    outcome = family.step(tasks, state, torch.zeros(n, 2), noise)
    reward, near = paid(family, list(offset), {"goal": [0.0, 0.0]})
    assert torch.allclose(outcome.reward, torch.full((n,), float(reward)), atol=1e-5)
    if family.ends_early:
        assert outcome.terminated.tolist() == [near] * n
    else:
        assert outcome.terminated is None
    _, step = transition(family, tasks, state, state, torch.zeros(n, 2), noise, False)
    assert family.success(tasks, step).tolist() == [near] * n


def test_walls_stop_and_nothing_but_walls(family: GoalPlane) -> None:
    tasks, noise = family.sample("id", torch.arange(2)), Rows.of(0, torch.arange(2))
    state, _ = family.reset(tasks, noise)
    for _ in range(30):
        state = family.step(
            tasks, state, torch.tensor([[1.0, -1.0], [-1.0, 0.0]]) * family.reach, noise
        ).state
    assert torch.allclose(state, torch.tensor([[2.0, -2.0], [-2.0, 0.0]]))


def test_a_row_alone_is_the_row_in_a_batch(family: GoalPlane) -> None:
    """Batches of odd sizes, so that rows lie at the tail of a vector."""
    for split in family.splits:
        whole = family.sample(split, torch.arange(67))
        best = family.optimal_return(whole, Trial(1, 15))
        for rows in ([66], [3, 65], list(range(13))):
            part = family.sample(split, torch.tensor(rows))
            for name, value in part.params.items():
                assert torch.equal(value, whole.params[name][rows]), (split, name)
            assert torch.equal(family.optimal_return(part, Trial(1, 15)), best[rows]), split


# --- the axes ---------------------------------------------------------------------------------------------------------


def test_every_plane_has_the_shared_axes(family: GoalPlane) -> None:
    assert set(AXES) | {"ring"} <= set(family.axes)
    assert list(family.axes) == sorted(family.axes)


@pytest.mark.parametrize("axis", ["action_turn", "reward_sign"])
def test_more_tasks_are_changed_at_higher_levels(family: GoalPlane, axis: str) -> None:
    """Shares are as said, and changed tasks stay changed in the same way."""
    n, neutral = 2000, {"action_turn": ("turn", [1.0, 0.0]), "reward_sign": ("factor", 1.0)}[axis]
    changed = []
    for level in range(1, 5):
        params = family.sample(f"shift/{axis}/{level}", torch.arange(n)).params
        value = params[neutral[0]].view(n, -1)
        changed.append((value != torch.tensor(neutral[1])).any(-1))
        assert abs(float(changed[-1].float().mean()) - level / 4) < 4 * 0.5 / n**0.5
    for fewer, more in pairwise(changed):
        assert not bool((fewer & ~more).any())


def test_turns_are_quarter_turns_equally_often() -> None:
    turn = PointNav().sample("shift/action_turn/4", torch.arange(3000)).params["turn"]
    kinds, counts = torch.unique(turn, dim=0, return_counts=True)
    assert sorted(kinds.tolist()) == [[-1.0, 0.0], [0.0, -1.0], [0.0, 1.0]]
    assert stats.chisquare(counts.numpy()).pvalue > LEAST_P


@pytest.mark.parametrize("level", range(1, 5))
def test_wind_has_its_strength_along_the_windier_side(family: GoalPlane, level: int) -> None:
    wind = family.sample(f"shift/wind/{level}", torch.arange(500)).params["wind"]
    value = family.axes["wind"].values[level]
    assert torch.allclose(wind.abs().amax(-1), torch.tensor(value))
    assert stats.kstest((wind.abs().amin(-1) / value).numpy(), stats.uniform.cdf).pvalue > LEAST_P


def test_what_an_axis_changes_is_there_only_where_it_is_active(family: GoalPlane) -> None:
    own = {
        "action_turn": "turn",
        "changes": "changes/hazard",
        "obs_noise": "senses/sd",
        "obs_permutation": "senses/order",
        "reward_delay": "senses/delay",
        "reward_scale": "factor",
        "reward_sign": "factor",
        "sight": "sight",
        "step_size": "step",
        "wind": "wind",
    }
    for split in family.splits:
        axis = family.split(split).axis
        extra = family.sample(split, torch.arange(2)).params.keys() - {"goal", "radius"}
        assert extra == ({own[axis]} if axis in own else set()), split


@pytest.mark.parametrize("level", range(1, 5))
def test_a_step_is_as_long_as_its_axis_says(family: GoalPlane, level: int) -> None:
    tasks = family.sample(f"shift/step_size/{level}", torch.arange(3))
    action = torch.tensor([[1.0, -1.0], [0.5, 0.0], [9.0, 0.0]]) * family.reach
    state, _ = family.reset(tasks, Rows.of(0, torch.arange(3)))
    moved = family.step(tasks, state, action, Rows.of(0, torch.arange(3))).state
    value = family.axes["step_size"].values[level]
    assert torch.allclose(moved, value * torch.tensor([[1.0, -1.0], [0.5, 0.0], [1.0, 0.0]]))


def test_horizons(family: GoalPlane) -> None:
    h = family.horizon
    found = [family.trial(f"shift/horizon/{level}").horizon for level in range(5)]
    assert found == [h, h // 2, h * 3 // 2, 2 * h, 4 * h]


def test_shells_are_uniform_and_paired() -> None:
    u = Rows.of(0, torch.arange(20_000)).uniform(2)
    inner, outer = shell(u, 0.0, 0.5), shell(u, 0.5, 1.0)
    assert torch.allclose(inner, u - 0.5, atol=1e-6)
    side = outer.abs().amax(-1)
    assert stats.kstest(((side * side - 0.25) / 0.75).numpy(), stats.uniform.cdf).pvalue > LEAST_P
    assert stats.kstest((outer.abs().amin(-1) / side).numpy(), stats.uniform.cdf).pvalue > LEAST_P
    assert torch.allclose(inner / length(inner)[:, None], outer / length(outer)[:, None], atol=1e-4)


# --- how best to walk -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "split", ["id", "shift/reward_scale/1", *(f"shift/{a}/4" for a in (*AXES, "ring"))]
)
def test_no_other_walk_pays_more(family: GoalPlane, split: str) -> None:
    """Walks that leave the best one a little, a lot, or at one step, over a whole episode."""
    n = 400
    tasks, noise = family.sample(split, torch.arange(n)), Rows.of(0, torch.arange(n))
    horizon = min(family.trial(split).horizon, 30)
    best, target = family.optimal_return(tasks, Trial(1, horizon)), family.destination(tasks.params)
    away = random_actions(family, n, horizon)
    one = torch.arange(horizon) == Rows.of("which", torch.arange(n)).integers(horizon)[:, None]
    for size in (0.0, 0.05, 1.0, one[..., None].float()):
        (state, obs), total, live = (
            family.reset(tasks, noise),
            torch.zeros(n),
            torch.ones(n, dtype=torch.bool),
        )
        for t in range(horizon):
            action = family.towards(target, obs, tasks.params) + (size * away)[:, t]
            state, step = transition(
                family, tasks, state, obs, action, noise, t + 1 == horizon, live
            )
            obs, total, live = step.next_obs, total + step.reward, live & ~step.terminated
        assert bool((total <= best + 1e-4).all()), split
        if isinstance(size, float) and size == 0:
            assert torch.allclose(total, best, atol=1e-4)


def test_wrong_numbers_of_episodes_are_refused() -> None:
    for cls in (PointNav, SparsePoint):
        with pytest.raises(UserError, match="needs episodes 1 or more; found 0"):
            cls(episodes=0)


def test_hashes_differ() -> None:
    assert len({family.hash for family in FAMILIES.values()}) == len(FAMILIES)

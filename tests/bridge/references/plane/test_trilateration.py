"""Posterior sampling in 2D navigation: every draw agrees with what was seen, and is even over what does."""

import math

import pytest
import torch
from scipy import stats

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Clues
from bridge.references.plane.trilateration import Moments, NavPsrl, add, draw, within
from bridge.rng import Rows
from bridge.tasks.point_nav import PointNav

SQUARE, LEAST_P = (0.0, 0.5), 1e-4


def nothing(rows: int) -> Moments:
    zero = torch.zeros(rows, dtype=torch.float64)
    return Moments(
        zero,
        zero[:, None].repeat(1, 2),
        zero,
        zero[:, None].repeat(1, 3),
        zero[:, None].repeat(1, 2),
    )


def sighted(goal: torch.Tensor, places: list[list[float]]) -> Moments:
    """What was seen of ``goal [B, 2]`` from ``places``, in float32 as the simulator has it."""
    seen = nothing(len(goal))
    for place in places:
        here = torch.tensor(place).expand_as(goal)
        seen = add(seen, here.double(), (here - goal).norm(dim=-1).double())
    return seen


def some_goals(rows: int) -> torch.Tensor:
    return Rows.of("goals", torch.arange(rows)).uniform(2) - 0.5


def test_moments_are_moments() -> None:
    rows, steps = 5, 7
    places = Rows.of("places", torch.arange(rows)).normal(steps, 2, dtype=torch.float64)
    distance = Rows.of("distance", torch.arange(rows)).uniform(steps, dtype=torch.float64)
    seen = nothing(rows)
    for t in range(steps):
        seen = add(seen, places[:, t], distance[:, t])
    z = (places * places).sum(-1) - distance * distance
    centred = places - places.mean(1, keepdim=True)
    torch.testing.assert_close(seen.place, places.mean(1))
    torch.testing.assert_close(seen.z, z.mean(1))
    x, y = centred.unbind(-1)
    torch.testing.assert_close(
        seen.spread, torch.stack([(x * x).sum(1), (x * y).sum(1), (y * y).sum(1)], -1)
    )
    torch.testing.assert_close(seen.pull, (centred * z[..., None]).sum(1))


def test_three_places_off_a_line_tell_the_goal() -> None:
    goal = some_goals(500)
    seen = sighted(goal, [[0.1, 0.05], [0.2, 0.05], [0.2, 0.15]])
    found = draw(seen, SQUARE, Rows.of(0, torch.arange(500)))
    assert float((found - goal).norm(dim=-1).max()) < 1e-4


def test_waiting_at_the_last_place_changes_nothing() -> None:
    goal = some_goals(500)
    seen = sighted(goal, [[0.1, 0.05], [0.2, 0.1], *[[0.3, 0.1]] * 98])
    found = draw(seen, SQUARE, Rows.of(0, torch.arange(500)))
    assert float((found - goal).norm(dim=-1).max()) < 1e-4


@pytest.mark.parametrize(
    "places",
    [[[0.1, 0.05], [0.2, 0.05]], [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]], [[0.2, 0.0], [0.2, 0.1]]],
)
def test_places_on_a_line_leave_the_goal_and_its_mirror_image(places: list[list[float]]) -> None:
    goal = torch.tensor([[0.1, 0.3]]).repeat(4000, 1)
    seen = sighted(goal, places)
    found = draw(seen, (0.0, 10.0), Rows.of(0, torch.arange(4000))).float()
    for place in places:
        there = torch.tensor(place)
        torch.testing.assert_close(
            (found - there).norm(dim=-1), (goal - there).norm(dim=-1), atol=1e-4, rtol=0
        )
    true = (found - goal).norm(dim=-1) < 1e-3
    assert abs(float(true.float().mean()) - 0.5) < 4 * 0.5 / 4000**0.5


def test_a_mirror_image_outside_the_prior_is_not_drawn() -> None:
    goal = torch.tensor([[0.4, 0.0]]).repeat(
        500, 1
    )  # seen from x = 0.1, its image lies at -0.2; from 0.6, at 0.8
    for x, certain in ((0.1, False), (0.6, True)):
        found = draw(sighted(goal, [[x, 0.0], [x, 0.1]]), SQUARE, Rows.of(0, torch.arange(500)))
        assert bool(((found - goal).norm(dim=-1) < 1e-3).all()) == certain


def test_one_place_leaves_a_circle() -> None:
    goal = torch.tensor([[0.2, 0.1]]).repeat(4000, 1)
    found = draw(
        sighted(goal, [[0.1, 0.1]] * 3), SQUARE, Rows.of(0, torch.arange(4000))
    ) - torch.tensor([0.1, 0.1])
    torch.testing.assert_close(
        found.norm(dim=-1), torch.full((4000,), 0.1, dtype=torch.float64), atol=1e-5, rtol=0
    )
    angle = torch.atan2(found[:, 1], found[:, 0]).numpy()
    assert stats.kstest(angle, stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue > LEAST_P


def test_a_circle_that_leaves_the_prior_is_cut() -> None:
    goal = torch.tensor([[0.45, -0.2]]).repeat(4000, 1)
    found = draw(sighted(goal, [[0.3, 0.1]]), SQUARE, Rows.of(0, torch.arange(4000)))
    assert float(found.abs().max()) < 0.5 + 1e-4
    angle = torch.atan2(found[:, 1] - 0.1, found[:, 0] - 0.3)
    cut = math.acos(0.2 / math.hypot(0.15, 0.3))  # between -cut and cut, x would be above 0.5
    assert float(angle.abs().min()) > cut - 1e-4


@pytest.mark.parametrize(
    ("goal", "expected"),
    [((1.0, 0.2), (0.5, 0.1)), ((0.1, -0.2), (0.2, -0.4)), ((0.45, 0), (0.45, 0))],
)
def test_what_the_prior_does_not_have_is_read_as_the_nearest_in_its_direction(
    goal, expected
) -> None:
    found = within(torch.tensor([goal]), (0.4, 0.5))
    torch.testing.assert_close(found, torch.tensor([expected]))


@pytest.mark.parametrize("spec", [{"variant": "paper"}, {"variant": "code"}, {"train": "hole"}])
def test_every_draw_agrees_with_every_distance_seen(spec: dict) -> None:
    family, n = PointNav(episodes=3, **spec), 300
    agent, noise, ids = NavPsrl(family, "id"), TrialNoise.of(0, torch.arange(n)), torch.arange(n)
    tasks = family.sample("id", ids)
    memory, seen = agent.start(Clues(), family.trial("id"), noise.agent), []
    for episode in range(3):
        target = agent.begin(memory, noise.agent.at(episode, "begin"), episode=episode)["target"]
        side = target.abs().amax(-1)
        low, high = family.bounds("id")
        assert bool(((side >= low - 1e-4) & (side <= high + 1e-4)).all())
        for place, live in seen:
            off = (
                (place - target).norm(dim=-1) - (place - tasks.params["goal"]).norm(dim=-1)
            ).abs()
            assert float(off[live].max()) < 2e-3
        memory, _ = play_episode(
            agent,
            family,
            tasks,
            memory,
            noise,
            episode=episode,
            horizon=100,
            visit=lambda _t, step, _decision: seen.append((step.next_obs, step.live)),
        )


@pytest.mark.parametrize(
    ("episode", "exact", "uncertain"), [(0, -51.68, 0.12), (1, -9.81, 0.35), (2, -0.506, 0.0)]
)
def test_returns_of_the_first_episodes(episode: int, exact: float, uncertain: float) -> None:
    """Beside a simulation that filters 200,000 points of the first circle; the third episode is the oracle's."""
    family = PointNav(episodes=3)
    n, total, square = evaluate(NavPsrl(family, "id"), family, Plan(trials=3000)).pooled(
        "episode_return", episode
    )
    error = math.hypot(math.sqrt((square / n - (total / n) ** 2) / n), uncertain)
    assert abs(total / n - exact) < 3 * error

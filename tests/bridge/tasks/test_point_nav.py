"""2D navigation: the three specifications, where goals are, and exact returns worked out apart from the code."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from bridge.protocol import Trial
from bridge.tasks.base import Box
from bridge.tasks.point_nav import PointNav

LEAST_P = 1e-4
NORM = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 3
"""The mean distance of a uniform point of [-1, 1]^2 from its centre."""


def sides(family: PointNav, split: str, n: int = 4000) -> torch.Tensor:
    return family.sample(split, torch.arange(n)).params["goal"].abs().amax(-1)


def walk(goal: np.ndarray, variant: str) -> np.ndarray:
    """Returns of walking 0.1 a step along each side until it is covered, in closed form at each step."""
    total, live = np.zeros(len(goal)), np.ones(len(goal), dtype=bool)
    for t in range(1, 101):
        gap = np.clip(np.abs(goal) - 0.1 * t, 0, None)
        distance = np.hypot(*gap.T)
        total -= live * (distance**2 if variant == "paper" else distance)
        live &= ~(distance < 0.01 if variant == "paper" else gap.max(1) < 0.01)
    return total


def test_names_and_trials() -> None:
    assert PointNav().id == "point_nav"
    assert (
        PointNav(variant="paper", train="hole", episodes=2).id
        == "point_nav:episodes=2,variant=paper,train=hole"
    )
    assert PointNav().trial("id") == Trial(80, 100)


@pytest.mark.parametrize(("variant", "reach"), [("paper", 0.1), ("code", 1.0), ("clipped", 0.1)])
def test_action_spaces(variant: str, reach: float) -> None:
    assert PointNav(variant=variant).action == Box((-reach, -reach), (reach, reach))


@pytest.mark.parametrize("split", ["train", "id_val", "id"])
def test_goals_are_uniform_in_the_unit_square(split: str) -> None:
    goals = PointNav().sample(split, torch.arange(4000)).params["goal"]
    for side in goals.T:
        assert stats.kstest(side.numpy(), stats.uniform(-0.5, 1).cdf).pvalue > LEAST_P
    assert abs(stats.spearmanr(*goals.T).statistic) < 4 / 4000**0.5


@pytest.mark.parametrize(
    ("train", "split", "low", "high"),
    [
        ("all", "shift/ring/1", 0.5, 0.55),
        ("all", "shift/ring/2", 0.5, 0.6),
        ("all", "shift/ring/3", 0.5, 0.7),
        ("all", "shift/ring/4", 0.5, 1.0),
        ("hole", "train", 0.4, 0.5),
        ("hole", "shift/hole/1", 0.3, 0.4),
        ("hole", "shift/hole/4", 0.0, 0.1),
        ("hole", "shift/ring/4", 0.5, 1.0),
    ],
)
def test_shells(train: str, split: str, low: float, high: float) -> None:
    family = PointNav(train=train)
    side = sides(family, split)
    share = (side * side - low * low) / (high * high - low * low)
    assert stats.kstest(share.numpy(), stats.uniform.cdf).pvalue > LEAST_P
    lattice = family.prior_goals(split)
    assert torch.allclose(lattice.mean(0), torch.zeros(2), atol=1e-6)
    assert low < float(lattice.abs().max(-1).values.min()) < float(lattice.abs().max()) < high


def test_only_the_hole_has_a_hole() -> None:
    assert "hole" not in PointNav().axes
    assert "hole" in PointNav(train="hole").axes


@pytest.mark.parametrize("variant", ["paper", "code", "clipped"])
@pytest.mark.parametrize("split", ["id", "shift/ring/4"])
def test_the_optimum_is_the_closed_form(variant: str, split: str) -> None:
    family = PointNav(variant=variant)
    tasks = family.sample(split, torch.arange(4000))
    found = family.optimal_return(tasks, family.trial(split)).double().numpy()
    expected = walk(tasks.params["goal"].double().numpy(), variant)
    # where a side lies within rounding of 0.01 from a whole number of steps, the episode may end a step later
    assert np.mean(np.abs(found - expected) > 1e-4) < 0.001
    assert np.abs(found - expected).max() < 0.02


@pytest.mark.parametrize(
    ("variant", "split", "exact"),
    [
        ("clipped", "id", -0.5060),
        ("code", "id", -0.5060),
        ("paper", "id", -0.1333),
        ("clipped", "shift/ring/4", -2.9973),
    ],
)
def test_what_who_knows_the_goal_gets(variant: str, split: str, exact: float) -> None:
    """By quadrature over a lattice of nine million goals."""
    family = PointNav(variant=variant)
    found = family.optimal_return(
        family.sample(split, torch.arange(4000)), family.trial(split)
    ).double()
    assert abs(float(found.mean()) - exact) < 3 * float(found.std()) / 4000**0.5


@pytest.mark.parametrize(
    ("split", "exact"), [("id", NORM / 2), ("shift/ring/4", (4 * NORM - NORM / 2) / 3)]
)
def test_goals_are_so_far_away(split: str, exact: float) -> None:
    goal = PointNav().sample(split, torch.arange(4000)).params["goal"].double()
    distance = goal.norm(dim=-1)
    assert abs(float(distance.mean()) - exact) < 3 * float(distance.std()) / 4000**0.5


@pytest.mark.parametrize("variant", ["paper", "clipped"])
def test_rewards_tell_distances(variant: str) -> None:
    family, distance = PointNav(variant=variant), torch.linspace(0, 2, 9)
    assert torch.allclose(family.distance(family.pay(distance, {})), distance, atol=1e-6)
    assert family.distance(torch.tensor([1.0])).tolist() == [0.0]


@pytest.mark.parametrize("variant", ["paper", "clipped"])
def test_beyond_its_sight_all_rewards_are_alike(variant):
    family = PointNav(variant=variant)
    distance = torch.tensor([0.0, 0.1, 0.2, 0.21, 3.0])
    params = family.sample("shift/sight/2", torch.arange(5)).params
    plain = family.pay(distance, {})
    assert torch.equal(family.pay(distance, params)[:3], plain[:3])
    assert torch.allclose(family.pay(distance, params)[3:], plain[2])

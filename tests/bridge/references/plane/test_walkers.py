"""The oracle never regrets; the blind agent waits where waiting is best, and earns what it should there."""

import math

import pytest
import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.references.plane.walkers import Blind, Oracle
from bridge.references.random import Random
from bridge.tasks.goal_plane import GoalPlane
from bridge.tasks.point_nav import PointNav
from bridge.tasks.sparse_point import SparsePoint

FAMILIES = [PointNav(episodes=1, variant="code", train="hole"), SparsePoint(episodes=1)]
NORM = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 3


def earned(agent, family: GoalPlane, split: str = "id", trials: int = 3000) -> tuple[float, float]:
    """Mean and standard error of an episode's return."""
    n, total, square = evaluate(agent, family, Plan(split=split, trials=trials)).pooled(
        "episode_return"
    )
    return total / n, math.sqrt(max(square / n - (total / n) ** 2, 0) / n)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_oracle_never_regrets(family: GoalPlane) -> None:
    for split in family.splits:
        n, _, square = evaluate(Oracle(family, split), family, Plan(split=split, trials=40)).pooled(
            "regret"
        )
        assert square / n < 1e-8, split


def test_the_oracle_arrives() -> None:
    family = PointNav(episodes=1)
    for split in ("id", "shift/ring/4", "shift/wind/4", "shift/action_turn/4"):
        assert (
            evaluate(Oracle(family, split), family, Plan(split=split, trials=200)).mean("success")
            == 1
        )


@pytest.mark.parametrize(
    ("variant", "split", "exact"),
    [
        (
            "clipped",
            "id",
            -100 * NORM / 2,
        ),  # -38.26, but for the 0.04% of episodes that end at once
        ("paper", "id", -100 / 6),  # E |g|^2 = 2 / 12
        ("clipped", "shift/ring/4", -100 * (4 * NORM - NORM / 2) / 3),  # -89.27
    ],
)
def test_waiting_at_the_start(variant: str, split: str, exact: float) -> None:
    family = PointNav(episodes=1, variant=variant)
    agent = Blind(family, split)
    assert agent.place.tolist() == [0.0, 0.0]
    mean, error = earned(agent, family, split)
    assert abs(mean - exact) < 3 * error


def test_where_rewards_are_mostly_negated_it_waits_in_a_corner() -> None:
    family = PointNav(episodes=1)
    assert Blind(family, "shift/reward_sign/1").place.tolist() == [0.0, 0.0]
    assert Blind(family, "shift/reward_sign/4").place.abs().tolist() == [2.0, 2.0]
    assert Blind(family, "shift/reward_sign/2").place.tolist() == [0.0, 0.0]


def test_no_other_place_is_better_on_the_half_circle() -> None:
    """By playing: twelve directions, three distances, all 72 training goals."""
    family = SparsePoint(episodes=1)
    agent = Blind(family, "train")
    best, _ = earned(agent, family, "train", 72)
    for k in range(12):
        for radius in (0.8, 0.9, 1.0):
            other = Blind(family, "train")
            angle = math.pi * k / 11
            other.place = torch.tensor([radius * math.cos(angle), radius * math.sin(angle)])
            assert earned(other, family, "train", 72)[0] < best + 0.1


def test_the_longer_it_waits_the_more_the_place_counts_and_the_less_the_way_there() -> None:
    family = SparsePoint(episodes=1)
    goals = family.prior_goals("id")

    def waiting(split: str) -> float:
        return float(family.pay((Blind(family, split).place - goals).norm(dim=-1), {}).mean())

    assert waiting("shift/horizon/1") == waiting("id") < waiting("shift/horizon/4")


@pytest.mark.parametrize(
    "family",
    [PointNav(episodes=1), SparsePoint(episodes=1), SparsePoint(episodes=1, variant="dense")],
    ids=lambda family: family.id,
)
def test_the_order(family: GoalPlane) -> None:
    """Knowing the task is better than knowing the split, and that is better than knowing nothing."""
    means = [earned(make(family, "id"), family)[0] for make in (Oracle, Blind, Random)]
    assert means[0] > means[1] > means[2]

"""The sparse point robot: the published goals and split, and exact returns."""

import numpy as np
import pytest
import torch

from bridge.protocol import Trial
from bridge.tasks.base import Box
from bridge.tasks.sparse_point import SparsePoint

SPARSE, DENSE = SparsePoint(), SparsePoint(variant="dense")


def goals(split: str, family: SparsePoint = SPARSE) -> np.ndarray:
    return (
        family.sample(split, torch.arange(family.support(split) or 100))
        .params["goal"]
        .double()
        .numpy()
    )


def test_names_and_spaces() -> None:
    assert SPARSE.id == "sparse_point"
    assert DENSE.id == "sparse_point:variant=dense"
    assert SPARSE.trial("id") == Trial(20, 20)
    assert SPARSE.action == Box((-1.0, -1.0), (1.0, 1.0))


def test_goals_and_split_are_those_of_the_published_code() -> None:
    """Its way: all points are made, then shuffled by the global generator, then cut at 80."""
    spaced = np.linspace(0, np.pi, num=100)
    points = np.stack([np.cos(spaced), np.sin(spaced)], axis=1)
    np.random.RandomState(1337).shuffle(points)
    np.testing.assert_allclose(
        np.concatenate([goals("train"), goals("id_val")]), points[:80], atol=1e-6
    )
    np.testing.assert_allclose(goals("id"), points[80:], atol=1e-6)
    assert [SPARSE.support(split) for split in ("train", "id_val", "id")] == [72, 8, 20]
    np.testing.assert_allclose(SPARSE.prior_goals("id"), points, atol=1e-6)


@pytest.mark.parametrize(("level", "turn"), [(1, 45), (2, 90), (3, 135), (4, 180)])
def test_arcs_are_turned(level: int, turn: float) -> None:
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    rotation = np.array([[cosine, sine], [-sine, cosine]])  # of row vectors, anticlockwise
    np.testing.assert_allclose(goals(f"shift/arc/{level}"), goals("id") @ rotation, atol=1e-6)


@pytest.mark.parametrize("level", range(1, 5))
def test_rings_lie_so_far_out(level: int) -> None:
    np.testing.assert_allclose(
        goals(f"shift/ring/{level}"), (1 + 0.1 * level) * goals("id"), atol=1e-6
    )


@pytest.mark.parametrize(("level", "radius"), [(1, 0.05), (2, 0.1), (3, 0.4), (4, 0.8)])
def test_goal_radii(level: int, radius: float) -> None:
    tasks = SPARSE.sample(f"shift/goal_radius/{level}", torch.arange(2))
    assert tasks.params["radius"].tolist() == pytest.approx([radius] * 2)
    for nearer, pays in ((0.99, True), (1.01, False)):
        distance = torch.full((2,), radius * nearer)
        assert SPARSE.pay(distance, tasks.params).tolist() == pytest.approx(
            [1 - radius * nearer if pays else 0.0] * 2
        )


def test_radii_matter_only_where_rewards_are_sparse() -> None:
    assert "goal_radius" in SPARSE.axes
    assert "goal_radius" not in DENSE.axes


def returns(family: SparsePoint) -> np.ndarray:
    every = [
        family.sample(split, torch.arange(family.support(split) or 0))
        for split in ("train", "id_val", "id")
    ]
    return np.concatenate(
        [family.optimal_return(tasks, Trial(1, 20)).double().numpy() for tasks in every]
    )


def test_what_who_knows_the_goal_gets() -> None:
    """Nothing is random: the mean over the 100 goals in closed form.

    Two goals, at the ends of the half circle, lie exactly 0.2 from the eighth step. Rounding decides whether that is
    near: 13.375 if it is (as here), 13.359 if it is not (as in float64).
    """
    spaced = np.linspace(0, np.pi, num=100)
    goal = np.abs(np.stack([np.cos(spaced), np.sin(spaced)], axis=1))
    distance = np.stack([np.hypot(*np.clip(goal - 0.1 * t, 0, None).T) for t in range(1, 21)])
    sparse = np.where(distance <= 0.2 + 1e-9, 1 - distance, 0).sum(0)
    assert returns(SPARSE).mean() == pytest.approx(sparse.mean(), abs=1e-5)
    assert sparse.mean() == pytest.approx(13.375, abs=5e-4)
    assert sparse.mean() - 2 * 0.8 / 100 == pytest.approx(13.359, abs=5e-4)
    assert returns(DENSE).mean() == pytest.approx(-distance.sum(0).mean(), abs=1e-5)

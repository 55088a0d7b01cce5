"""Gymnasium's spaces as ours."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from bridge.errors import UserError
from bridge.tasks.base import Box, Discrete
from bridge.tasks.gym_spaces import Actions, Observations

BOUNDED = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))
FREE = spaces.Box(np.array([-np.inf, 0.0], np.float32), np.array([np.inf, 1.0], np.float32))


def read(space: gymnasium.Space, *values) -> torch.Tensor:
    return Observations(space, "x").read(list(values))


def test_bounded_coordinates_stay_as_they_are():
    assert Observations(BOUNDED, "x").ours == Box((-2.0, 0.0), (2.0, 1.0))
    found = read(BOUNDED, np.array([0.5, 0.25]), np.array([-2.0, 1.0]))
    assert found.tolist() == [[0.5, 0.25], [-2.0, 1.0]]
    assert found.dtype == torch.float32


def test_coordinates_without_bounds_are_squashed_in_their_order():
    assert Observations(FREE, "x").ours == Box((-1.0, 0.0), (1.0, 1.0))
    sizes = np.array([-1e6, -3.0, -1e-3, 0.0, 1e-3, 3.0, 1e6])
    found = read(FREE, *(np.array([size, 0.5]) for size in sizes))[:, 0]
    assert (found.diff() > 0).all()
    assert (found.abs() < 1).all()
    assert found[4] == pytest.approx(1e-3, rel=2e-3)
    assert torch.equal(found, -found.flip(0))
    assert found[5] == pytest.approx(np.log(4) / (1 + np.log(4)))


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({"b": BOUNDED, "a": spaces.Discrete(3)}),
        spaces.Tuple((spaces.Discrete(3), BOUNDED, spaces.MultiBinary(2))),
        spaces.MultiDiscrete([2, 3]),
        spaces.Box(0, 255, (2, 3, 3), np.uint8),
    ],
)
def test_parts_are_flattened_as_gymnasium_does(space):
    space.seed(0)
    values = [space.sample() for _ in range(5)]
    made = Observations(space, "x")
    expected = np.stack([np.asarray(spaces.flatten(space, each)) for each in values])
    assert made.read(values).tolist() == expected.tolist()
    low, high = (torch.tensor(end) for end in (made.ours.low, made.ours.high))
    assert ((low <= made.read(values)) & (made.read(values) <= high)).all()


def test_discrete_observations_begin_at_zero():
    assert Observations(spaces.Discrete(3, start=5), "x").ours == Discrete(3)
    assert read(spaces.Discrete(3, start=5), 5, np.int64(7)).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("space", "ours", "given", "expected"),
    [
        (spaces.Discrete(3), Discrete(3), [2, 0], [2, 0]),
        (spaces.Discrete(3, start=-1), Discrete(3), [2, 0], [1, -1]),
        (spaces.MultiDiscrete([2, 3]), Discrete(6), [0, 5, 4], [[0, 0], [1, 2], [1, 1]]),
        (spaces.MultiDiscrete([2, 2], start=[1, -1]), Discrete(4), [0, 3], [[1, -1], [2, 0]]),
        (spaces.MultiBinary(2), Discrete(4), [1, 2], [[0, 1], [1, 0]]),
        (
            spaces.Box(-2.0, 2.0, (2, 1)),
            Box((-2.0, -2.0), (2.0, 2.0)),
            [[0.5, -1.0]],
            [[[0.5], [-1.0]]],
        ),
    ],
)
def test_actions_are_those_of_the_environment(space, ours, given, expected):
    made = Actions(space, "x")
    assert made.ours == ours
    taken = made.taken(torch.tensor(given))
    assert np.array(taken).tolist() == expected
    assert all(space.contains(each) for each in taken)
    back = made.read(np.array(taken))
    assert torch.equal(back, torch.tensor(given))
    assert back.dtype == made.ours.dtype


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.Discrete(3, start=1), [4]),
        (spaces.Discrete(3, start=1), [0]),
        (spaces.MultiDiscrete([2, 3]), [[1, 3]]),
        (spaces.MultiDiscrete([2, 3]), [[1, 2, 0]]),
        (spaces.Box(-2.0, 2.0, (2,)), [[0.0, 0.0, 0.0]]),
    ],
)
def test_actions_of_another_space_are_an_error(space, actions):
    with pytest.raises(ValueError, match=r"."):
        Actions(space, "x").read(np.array(actions))


def test_every_combination_of_actions_can_be_taken_once():
    space = spaces.MultiDiscrete([2, 3, 2])
    made = Actions(space, "x")
    taken = made.taken(torch.arange(made.ours.n))
    assert len({tuple(each) for each in taken.tolist()}) == 12


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            spaces.Box(-np.inf, np.inf, (2,)),
            "between two different bounds. Register .*TransformAction",
        ),
        (spaces.Dict({"a": spaces.Discrete(2)}), "Wrap the environment in one of these"),
        (
            spaces.Box(np.zeros(2, np.float32), np.array([0, 1], np.float32)),
            "between two different bounds",
        ),
        (spaces.MultiDiscrete([100, 100]), "10,000 combinations"),
        (spaces.MultiBinary(64), "18,446,744,073,709,551,616 combinations"),
    ],
)
def test_actions_that_no_policy_chooses_are_refused(space, message):
    with pytest.raises(UserError, match=message):
        Actions(space, "x")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Graph(spaces.Discrete(2), None), "no fixed number of coordinates"),
        (spaces.Sequence(spaces.Discrete(2)), "no fixed number of coordinates"),
        (spaces.Box(0, 255, (210, 160, 3), np.uint8), "100,800 coordinates"),
        (spaces.Discrete(10**9), "1,000,000,000 coordinates"),
    ],
)
def test_observations_that_no_network_reads_are_refused(space, message):
    with pytest.raises(UserError, match=message):
        Observations(space, "x")


def test_an_action_at_a_bound_is_within_the_environments_own():
    """0.1 in our float32 is above 0.1 in its float64."""
    space = spaces.Box(-0.1, 0.1, (1,), np.float64)
    made = Actions(space, "x")
    assert all(space.contains(each) for each in made.taken(torch.tensor([[0.1], [-0.1]])))


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (BOUNDED, np.zeros(3)),
        (BOUNDED, None),
        (spaces.Discrete(3), 3),
        (spaces.Dict({"a": BOUNDED}), {}),
    ],
)
def test_an_observation_of_another_form_is_an_error(space, value):
    with pytest.raises((ValueError, KeyError, TypeError)):
        read(space, value)

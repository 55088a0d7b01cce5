"""The dark rooms: the published split and values, and how the held-out regions are cut."""

from typing import Literal

import pytest
import torch

from bridge import config
from bridge.errors import UserError
from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks.darkroom import Darkroom

Variant = Literal["dpt", "ad"]
Train = Literal["all", "inner", "hole"]
DPT, AD = Darkroom(), Darkroom(variant="ad")
# np.array of all (x, y) row by row, RandomState(0).shuffle, last 20: written down from the published script
TEST_GOALS = [
    (2, 5),
    (3, 7),
    (8, 1),
    (4, 6),
    (3, 9),
    (6, 5),
    (5, 8),
    (1, 2),
    (8, 8),
    (7, 0),
    (8, 7),
    (3, 6),
    (2, 1),
    (8, 3),
    (0, 9),
    (9, 6),
    (6, 7),
    (6, 4),
    (4, 7),
    (4, 4),
]


def optima(family: Darkroom, *splits: str) -> torch.Tensor:
    return torch.cat(
        [
            family.optimal_return(
                family.sample(split, torch.arange(len(family.goals(split)))), family.trial(split)
            )
            for split in splits
        ]
    ).double()


def test_names() -> None:
    assert DPT.id == "darkroom"
    assert Darkroom(variant="ad", train="hole").id == "darkroom:variant=ad,train=hole"
    with pytest.raises(UserError, match="Did you mean 'dpt'"):
        config.build(Darkroom, "darkroom:variant=dqt", {"variant": "dqt"})


def test_the_published_test_goals() -> None:
    assert list(DPT.goals("id")) == TEST_GOALS


def test_the_published_oracle_values() -> None:
    assert float(optima(DPT, "id").mean()) == pytest.approx(90.90, abs=1e-6)
    assert float(optima(DPT, "train", "id_val", "id").mean()) == pytest.approx(91.99, abs=1e-6)
    assert float(optima(DPT, "train", "id_val").mean()) == pytest.approx(92.2625, abs=1e-6)
    assert float(optima(AD, "train", "id_val", "id").mean()) == pytest.approx(
        1340 / 81, abs=1e-6
    )  # 16.54


def test_the_eight_test_goals_of_another_split_of_the_ad_room() -> None:
    """Eight goals that DICP tests on; their oracle mean is published as 17.25."""
    goals = [(4, 2), (5, 6), (6, 8), (7, 2), (3, 6), (0, 5), (5, 8), (5, 4)]
    splits = ("train", "id_val", "id")
    listed = [goal for split in splits for goal in AD.goals(split)]
    value = dict(zip(listed, optima(AD, *splits).tolist(), strict=True))
    assert sum(value[goal] for goal in goals) / 8 == 17.25


def test_trials() -> None:
    assert DPT.trial("id") == Trial(40, 100)
    assert AD.trial("id") == Trial(50, 20)
    assert Darkroom(episodes=5).trial("id") == Trial(5, 100)


@pytest.mark.parametrize(
    ("variant", "train", "sizes"),
    [
        ("dpt", "all", (72, 8, 20)),
        ("dpt", "inner", (40, 4, 11)),
        ("dpt", "hole", (26, 3, 7)),
        ("ad", "all", (59, 6, 16)),
        ("ad", "inner", (30, 3, 8)),
        ("ad", "hole", (23, 3, 6)),
    ],
)
def test_every_goal_is_in_one_stream(
    variant: Variant, train: Train, sizes: tuple[int, int, int]
) -> None:
    family = Darkroom(variant=variant, train=train)
    streams = [set(family.goals(split)) for split in ("train", "id_val", "id")]
    assert tuple(map(len, streams)) == sizes
    assert len(set().union(*streams)) == sum(sizes)


@pytest.mark.parametrize(
    ("action", "arrival"), [(0, (5, 4)), (1, (3, 4)), (2, (4, 5)), (3, (4, 3)), (4, (4, 4))]
)
@pytest.mark.parametrize("family", [DPT, AD], ids=lambda family: family.variant)
def test_actions_are_right_left_up_down_stay(
    family: Darkroom, action: int, arrival: tuple[int, int]
) -> None:
    tasks = family.sample("id", torch.zeros(1, dtype=torch.int64))
    outcome = family.step(
        tasks, torch.tensor([[4, 4]]), torch.tensor([action]), Rows.of(0, torch.arange(1))
    )
    assert outcome.state.tolist() == [list(arrival)]


@pytest.mark.parametrize(
    ("variant", "radius", "shells"),
    [("dpt", 9, ({10, 11}, {12, 13}, {14, 15}, {16, 17, 18})), ("ad", 4, ({5}, {6}, {7}, {8}))],
)
def test_shells_are_whole_rings_beyond_the_inner_goals(
    variant: Variant, radius: int, shells: tuple[set[int], ...]
) -> None:
    family = Darkroom(variant=variant, train="inner")
    start = family.grid.start

    def away(goals: tuple[tuple[int, int], ...]) -> list[int]:
        return [abs(x - start[0]) + abs(y - start[1]) for x, y in goals]

    assert max(away(family.prior_goals("id"))) == radius
    levels = [family.goals(f"shift/goal_shell/{level}") for level in range(1, 5)]
    assert [set(away(goals)) for goals in levels] == list(shells)
    assert sum(map(len, levels)) + len(family.prior_goals("id")) == family.grid.size**2
    values = family.axes["goal_shell"].values[1:]
    assert [radius + value for value in values] == [min(shell) for shell in shells]


@pytest.mark.parametrize(("variant", "sizes"), [("dpt", (28, 20, 12, 4)), ("ad", (24, 16, 8, 1))])
def test_the_hole_goes_inwards_ring_by_ring(variant: Variant, sizes: tuple[int, ...]) -> None:
    family = Darkroom(variant=variant, train="hole")
    end = family.grid.size - 1
    assert all(0 in goal or end in goal for goal in family.prior_goals("id"))
    for level, size in enumerate(sizes, 1):
        goals = family.goals(f"shift/hole/{level}")
        assert len(goals) == size
        assert {min(x, y, end - x, end - y) for x, y in goals} == {level}


@pytest.mark.parametrize(("variant", "half"), [("dpt", 5), ("ad", 4)])
def test_combinations_are_of_coordinates_that_were_seen_apart(variant, half):
    family = Darkroom(variant=variant, train="cross")
    trained = set(family.streams["train"] + family.streams["id_val"] + family.streams["id"])
    held_out = [goal for moved in family.goal_axes["combination"].levels for goal in moved]
    assert {min(goal) for goal in trained} == set(range(half))
    assert all(min(goal) >= half for goal in held_out)
    assert len(trained) + len(held_out) == family.grid.size**2
    for axis in (0, 1):
        assert {goal[axis] for goal in held_out} <= {goal[axis] for goal in trained}
    for level, goals in enumerate(family.goal_axes["combination"].levels[:3]):
        assert {min(goal) for goal in goals} == {half + level}

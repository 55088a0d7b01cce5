"""GridNavi: the published goals, actions and values."""

import pytest
import torch

from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks.gridnavi import GridNavi

ALL, INNER = GridNavi(), GridNavi(train="inner")


def mean_optimum(family: GridNavi, split: str) -> float:
    tasks = family.sample(split, torch.arange(len(family.goals(split))))
    return float(family.optimal_return(tasks, family.trial(split)).double().mean())


def test_names() -> None:
    assert ALL.id == "gridnavi"
    assert INNER.id == "gridnavi:train=inner"


def test_the_21_goals_are_all_cells_but_the_start_block() -> None:
    block = {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert sorted(ALL.goals("id")) == [
        c for c in ((x, y) for x in range(5) for y in range(5)) if c not in block
    ]
    assert ALL.goals("train") == ALL.goals("id_val") == ALL.goals("id")


def test_a_trial_is_four_episodes_of_fifteen_steps() -> None:
    assert ALL.trial("id") == Trial(4, 15)


@pytest.mark.parametrize(
    ("action", "arrival"), [(0, (2, 2)), (1, (2, 3)), (2, (3, 2)), (3, (2, 1)), (4, (1, 2))]
)
def test_actions_are_stay_up_right_down_left(action: int, arrival: tuple[int, int]) -> None:
    tasks = ALL.sample("id", torch.zeros(1, dtype=torch.int64))
    outcome = ALL.step(
        tasks, torch.tensor([[2, 2]]), torch.tensor([action]), Rows.of(0, torch.arange(1))
    )
    assert outcome.state.tolist() == [list(arrival)]


def test_who_knows_the_goal_gets_11_07() -> None:
    assert mean_optimum(ALL, "id") == pytest.approx(232.5 / 21, rel=1e-6)  # 11.0714
    assert round(mean_optimum(ALL, "id"), 2) == 11.07


def test_inner_goals_are_within_four_steps() -> None:
    assert len(INNER.goals("train")) == 11
    assert {x + y for x, y in INNER.goals("train")} == {2, 3, 4}
    assert set(INNER.goals("train")) < set(ALL.goals("train"))


@pytest.mark.parametrize("level", range(1, 5))
def test_shells_lie_exactly_so_many_steps_beyond(level: int) -> None:
    goals = INNER.goals(f"shift/goal_shell/{level}")
    assert [x + y for x, y in goals] == [4 + level] * (5 - level)
    assert INNER.axes["goal_shell"].values[level] == level


def test_only_the_inner_variant_has_shells() -> None:
    assert "goal_shell" not in ALL.axes
    assert "goal_shell" in INNER.axes

"""The oracle earns the optimal return: exactly where nothing slips, on average where something does."""

import pytest
import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues, Step
from bridge.references.grid.oracle import Oracle
from bridge.rng import Rows
from bridge.tasks.base import Tasks
from bridge.tasks.darkroom import Darkroom
from bridge.tasks.goal_grid import GoalGrid
from bridge.tasks.gridnavi import GridNavi

FAMILIES = [GridNavi(train="inner", episodes=1), Darkroom(variant="ad", train="hole", episodes=1)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.id)
def test_it_never_regrets(family: GoalGrid) -> None:
    for split in family.splits:
        if "slip" not in split:
            result = evaluate(Oracle(family, split), family, Plan(split=split, trials=60))
            n, _, square = result.pooled("regret")
            assert square / n < 1e-8, split


def test_the_dpt_room() -> None:
    family = Darkroom(episodes=1)
    assert evaluate(Oracle(family, "id"), family, Plan(trials=20)).mean(
        "trial_return"
    ) == pytest.approx(90.90)


@pytest.mark.parametrize("level", range(1, 5))
@pytest.mark.parametrize(
    "family", [GridNavi(), Darkroom(variant="ad", episodes=4)], ids=lambda family: family.name
)
def test_slips_cost_what_value_iteration_says(family: GoalGrid, level: int) -> None:
    split = f"shift/slip/{level}"
    n, total, square = evaluate(
        Oracle(family, split), family, Plan(split=split, trials=3360)
    ).pooled("regret")
    error = ((square / n - (total / n) ** 2) / n) ** 0.5
    assert abs(total / n) < 4 * error
    assert error < 0.3


def actions_at(cell: float, left: int) -> torch.Tensor:
    """What 2,000 oracles do in (cell, cell) of gridnavi with ``left`` steps to go and the goal in (3, 3)."""
    family, ids = GridNavi(), torch.arange(2000)
    agent, rng = Oracle(family, "id"), Rows.of(0, ids)
    task = Tasks(ids, {"goal": torch.tensor([3, 3]).repeat(2000, 1)})
    memory = agent.begin(agent.start(Clues(task=task), family.trial("id"), rng), rng, episode=0)
    obs, never = torch.full((2000, 2), cell), torch.zeros(2000, dtype=torch.bool)
    for _ in range(15 - left):
        memory = agent.observe(memory, Step(obs, ids % 5, torch.zeros(2000), obs, never, never))
    return agent.act(memory, obs, rng, explore=True).action


def test_ties_are_broken_evenly() -> None:
    """Diagonally before the goal two actions are as good, up and right."""
    action = actions_at(2.0, left=15)
    assert set(action.tolist()) == {1, 2}
    assert abs(float((action == 1).float().mean()) - 0.5) < 4 * 0.5 / 2000**0.5


def test_the_steps_left_are_counted() -> None:
    """Two steps from the goal, the last but one step still matters and the last does not."""
    assert set(actions_at(2.0, left=2).tolist()) == {1, 2}
    assert set(actions_at(2.0, left=1).tolist()) == {0, 1, 2, 3, 4}

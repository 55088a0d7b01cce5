"""A wider training distribution has the tasks of three values of an axis, and changes no other split."""

from __future__ import annotations

import pytest
import torch

from bridge import memory as tree
from bridge.errors import UserError
from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues
from bridge.references.registry import DoesNotPlayError, reference
from bridge.rng import Rows
from bridge.tasks import family
from bridge.tasks.base import Tasks
from bridge.tasks.goal_grid import solve
from bridge.tasks.perception import AXES

MANY = 600
FAMILIES = (
    "bandit:k=5,n=10",
    "bandit:k=2,n=10,arms=gaussian",
    "contextual_bandit",
    "gridnavi:train=inner",
    "darkroom:variant=ad,train=inner",
    "point_nav:train=hole",
    "sparse_point",
    "tabular_mdp",
)
WIDE = [
    (name, axis)
    for name in FAMILIES
    for axis in family(name).axes
    if axis not in ("changes", "context_length", "horizon", *AXES)
]


def widened(name: str, axis: str):
    return family(f"{name}{',' if ':' in name else ':'}wide={axis}")


@pytest.mark.parametrize(("name", "axis"), WIDE)
def test_every_training_task_is_one_of_three_levels(name: str, axis: str) -> None:
    """A third of the tasks each are, and play as, the training tasks of before and those of levels 1 and 2."""
    wide, narrow = widened(name, axis), family(name)
    index = torch.arange(MANY)
    tasks = wide.sample("train", index)
    noise = Rows.of(f"tasks/{wide.name}/v{wide.version}/train", index)
    level = noise.at("wide").integers(3)
    assert all(abs((level == each).float().mean() - 1 / 3) < 0.06 for each in range(3))
    for each in range(3):
        split = narrow.split(f"shift/{axis}/{each}")._replace(stream="train")
        alone = Tasks(index, narrow.params(split, index, noise))
        rows = (level == each).nonzero().squeeze(-1)
        ours, theirs = (_walk(wide, tree.select(t, rows)) for t in (tasks, alone))
        for mine, other in zip(ours, theirs, strict=True):
            assert mine.equal(other)


def _walk(made, tasks: Tasks) -> list[torch.Tensor]:
    """What the simulator makes of some tasks in five random steps."""
    noise = Rows.of("walk", torch.arange(len(tasks.index)))
    state, obs = made.reset(tasks, noise)
    found = [obs]
    for t in range(5):
        draw = noise.at(t)
        if hasattr(made.action, "n"):
            action = draw.at("action").integers(made.action.n)
        else:
            low = torch.tensor(made.action.low)
            action = low + draw.at("action").uniform(len(low)) * (
                torch.tensor(made.action.high) - low
            )
        outcome = made.step(tasks, state, action, draw)
        state = outcome.state
        found += [outcome.obs, outcome.reward]
    return found


@pytest.mark.parametrize("name", FAMILIES)
def test_other_splits_are_as_they_were(name: str) -> None:
    wide, narrow = widened(name, "reward_scale"), family(name)
    index = torch.arange(50)
    for split in narrow.splits:
        if split != "train":
            ours, theirs = wide.sample(split, index), narrow.sample(split, index)
            assert ours.params.keys() == theirs.params.keys()
            assert all(ours.params[key].equal(theirs.params[key]) for key in ours.params)
    assert wide.support("train") is None
    assert wide.hash != narrow.hash


def test_a_family_that_is_not_widened_keeps_its_hash() -> None:
    """Runs of before the field came have it in their ``config.json``."""
    assert family("bandit:k=5,n=10").hash == "9cb1e49ef610"


def test_fixed_tasks_can_be_widened() -> None:
    made = family("gridnavi:tasks=500,wide=slip")
    assert made.support("train") == 500
    slips = made.sample("train", torch.arange(500)).params["slip"].unique().tolist()
    assert slips == pytest.approx([0.0, 0.05, 0.1])


@pytest.mark.parametrize("axis", ["changes", "horizon"])
def test_trials_and_changing_tasks_cannot_be_widened(axis: str) -> None:
    with pytest.raises(
        UserError, match=f"cannot be widened along {axis}.*Choose one of gap, prior"
    ):
        family(f"bandit:wide={axis}")


def test_unknown_axis_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"wide= of bandit: .*reward_sgn.*reward_sign"):
        family("bandit:wide=reward_sgn")


@pytest.mark.parametrize("name", ["bayes_train", "thompson", "gittins"])
def test_references_of_the_training_prior_refuse(name: str) -> None:
    with pytest.raises(DoesNotPlayError, match="none for one that is wider along prior"):
        reference(name, family("bandit:wide=prior"), "id")


def test_bayes_refuses_the_wider_split_alone() -> None:
    made = family("bandit:wide=prior")
    reference("bayes", made, "id")
    with pytest.raises(DoesNotPlayError, match="has none for train"):
        reference("bayes", made, "train")


@pytest.mark.parametrize("axis", ["goal_shell", "reward_sign", "slip", "action_permutation"])
def test_the_oracle_of_wider_training_regrets_nothing(axis: str) -> None:
    made = family(f"darkroom:variant=ad,train=inner,episodes=2,wide={axis}")
    plan = Plan(split="train", trials=300)
    found = evaluate(reference("oracle", made, "train"), made, plan)
    slipped = 0.3 if axis == "slip" else 1e-5  # slips are chance, which regret has
    assert abs(found.mean("regret")) < slipped


def test_the_oracle_of_wider_slips_reads_the_values_of_each_tasks_own() -> None:
    made = family("gridnavi:wide=slip")
    agent = reference("oracle", made, "train")
    tasks = made.sample("train", torch.arange(60))
    rng = Rows.of("oracle", tasks.index)
    row = agent.start(Clues(task=tasks), made.trial("train"), rng)["row"]
    goal, slip = made.grid.number(tasks.params["goal"]), tasks.params["slip"]
    own = solve(made.grid, goal, torch.ones(60), slip, made.grid.horizon)
    torch.testing.assert_close(agent.values[row], own)


def test_the_best_place_to_wait_is_not_known_of_wider_goals() -> None:
    made = family("point_nav:wide=ring")
    reference("blind", made, "id")
    with pytest.raises(DoesNotPlayError, match="has none for train"):
        reference("blind", made, "train")

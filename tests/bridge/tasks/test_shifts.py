"""The shift axes that most families have: what a level does to a task, in every family alike."""

import pytest
import torch

from bridge.rng import Rows
from bridge.tasks import FAMILIES
from bridge.tasks.shifts import factor, horizon, paid

N = 4000


@pytest.fixture(params=[name for name, family in FAMILIES.items() if family().axes])
def family(request: pytest.FixtureRequest):
    return FAMILIES[request.param]()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [(1, (1, 1, 1, 2, 4)), (15, (15, 7, 22, 30, 60)), (100, (100, 50, 150, 200, 400))],
)
def test_horizons_are_whole_and_never_nothing(steps, expected):
    assert horizon(steps).values == expected


def test_a_trial_is_as_long_as_its_axis_says(family):
    """Of bandits, whose episodes are single steps, ``horizon`` is the length of the context."""
    if "context_length" not in family.axes:
        assert family.trial("id").horizon == 1
        return
    whole = family.trial("id")
    for level, factor_ in enumerate((1, 0.5, 1.5, 2, 4)):
        episodes, steps = family.trial(f"shift/context_length/{level}")
        assert steps == whole.horizon
        assert episodes == max(1, int(factor_ * whole.episodes))
        episodes, steps = family.trial(f"shift/horizon/{level}")
        assert steps == max(1, int(factor_ * whole.horizon))
        assert episodes == whole.episodes


def test_rewards_are_scaled_on_one_axis_and_negated_in_a_growing_share_of_tasks_on_another(family):
    tasks = Rows.of("tasks", torch.arange(N))
    assert factor(family, family.split("id"), tasks) == {}
    before = torch.zeros(N, dtype=torch.bool)
    for level in range(1, 5):
        scale, share = (family.axes[axis].values[level] for axis in ("reward_scale", "reward_sign"))
        scaled = factor(family, family.split(f"shift/reward_scale/{level}"), tasks)["factor"]
        assert torch.equal(scaled, torch.full((N,), scale))
        signs = factor(family, family.split(f"shift/reward_sign/{level}"), tasks)["factor"]
        negated = signs < 0
        assert set(signs.tolist()) <= {-1.0, 1.0}
        assert abs(negated.float().mean() - share) <= 4 * (share * (1 - share) / N) ** 0.5
        assert negated[before].all()
        before = negated


def test_a_task_has_its_factor(family):
    index = torch.arange(8)
    sampled = family.sample("shift/reward_scale/2", index).params
    assert torch.equal(sampled["factor"], torch.full((8,), 0.3))
    assert "factor" not in family.sample("id", index).params


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2)])
def test_every_reward_of_a_task_is_multiplied_by_its_factor(shape):
    reward = torch.ones(shape)
    found = paid(reward, {"factor": torch.tensor([1.0, -1.0, 0.1])})
    assert [row.unique().tolist() for row in found] == [[1.0], [-1.0], [pytest.approx(0.1)]]
    assert paid(reward, {}) is reward

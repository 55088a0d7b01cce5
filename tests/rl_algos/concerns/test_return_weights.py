"""Weights from the scale of returns: Schaul's formula step by step, units, and tasks without a scale."""

import pytest
import torch

from bridge.rng import Rows
from rl_algos.concerns.combining import combine
from rl_algos.concerns.return_weights import ReturnScaled

SLOTS = Rows.of("returns", torch.arange(4))
REWARD = SLOTS.at("reward").normal(3, 5) + 0.5
LIVE = torch.arange(5) < SLOTS.at("length").integers(5, 3)[..., None] + 1
"""Episodes of 1 to 5 steps."""


def rule(tasks: int = 4, *, power: int = 1) -> ReturnScaled:
    return ReturnScaled(tasks, gamma=0.9, power=power)


def weights(made: ReturnScaled, task: torch.Tensor) -> torch.Tensor:
    """The weights of tasks, whose gradients are at right angles."""
    n = len(task)
    return combine(torch.eye(n), torch.ones(n), task, made, Rows.of(0, task)).weights


def test_the_scale_is_the_papers_sum_over_steps():
    """A loop over steps: V[R] + V[gamma] E[G^2]."""
    made, task = rule(2), torch.tensor([1, 1, 1, 1])
    made.watch(task, REWARD, LIVE)
    rewards, discounts, returns = [], [], []
    for episode, live in zip(REWARD.flatten(0, 1), LIVE.flatten(0, 1), strict=True):
        steps = episode[live].double()
        for t in range(len(steps)):
            rewards.append(steps[t])
            discounts.append(torch.tensor(0.9 if t < len(steps) - 1 else 0.0))
            returns.append(sum(0.9**k * r for k, r in enumerate(steps[t:])))
    r, discount, g = (torch.stack(part).double() for part in (rewards, discounts, returns))
    expected = r.var(unbiased=False) + discount.var(unbiased=False) * g.square().mean()
    torch.testing.assert_close(made.scale(task[:1])[0], expected.sqrt())


def test_rewards_of_steps_that_were_not_played_do_not_count():
    one, two = rule(), rule()
    one.watch(torch.arange(4), REWARD, LIVE)
    two.watch(torch.arange(4), torch.where(LIVE, REWARD, torch.nan), LIVE)
    assert torch.equal(one.moments, two.moments)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_weights_are_inverse_to_a_power_of_the_scale_in_any_unit(unit, power):
    made, task = rule(2, power=power), torch.tensor([0, 1])
    made.watch(task, unit * torch.stack([REWARD[0], 100 * REWARD[0]]), LIVE[[0, 0]])
    found = weights(made, task)
    assert (found[0] / found[1]).item() == pytest.approx(100**power, rel=1e-4)


def test_first_batches_count_alike():
    one, two, task = rule(1), rule(1), torch.tensor([0])
    live = torch.ones_like(LIVE)
    for slot in range(4):
        one.watch(task, REWARD[slot : slot + 1], live[slot : slot + 1])
    two.watch(torch.tensor([0, 0, 0, 0]), REWARD, live)
    torch.testing.assert_close(one.moments, two.moments)


def test_tasks_without_a_scale_have_that_of_the_others():
    """Task 1 earned nothing, and task 3 was never played: each has the geometric mean of the others' scales."""
    made, task = rule(4), torch.arange(4)
    assert torch.allclose(weights(made, task), torch.full((4,), 0.25))
    rewards = torch.stack([REWARD[0], 0 * REWARD[0], 100 * REWARD[0]])
    made.watch(task[:3], rewards, torch.ones_like(LIVE[:3]))
    scale = made.scale(task)
    expected = torch.stack([scale[0], 10 * scale[0], scale[2], 10 * scale[0]]).reciprocal()
    torch.testing.assert_close(weights(made, task), (expected / expected.sum()).float())


def test_a_rule_that_is_restored_goes_on_alike():
    one, two = rule(), rule()
    one.watch(torch.arange(4), REWARD, LIVE)
    two.load_state_dict(one.state_dict())
    for each in (one, two):
        each.watch(torch.tensor([2, 0]), REWARD[:2], LIVE[:2])
    assert torch.equal(weights(one, torch.arange(4)), weights(two, torch.arange(4)))
    assert torch.equal(one.count, two.count)

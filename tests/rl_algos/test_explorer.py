"""Scouts: how often they repeat themselves, what they draw, and how far they come."""

import pytest
import torch

from bridge.evaluation.evaluator import evaluate
from bridge.evaluation.plan import Plan
from bridge.protocol import Clues, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete
from rl_algos.explorer import Explorer
from tests.bridge.toys import Corridor, Reach

STEPS, ROWS = 60, 400


def walked(space: Discrete | Box) -> torch.Tensor:
    """Actions ``[T, B, ...]`` of one episode."""
    scout, rng, nothing = Explorer(space), Rows.of(0, torch.arange(ROWS)), torch.zeros(ROWS)
    never = torch.zeros(ROWS, dtype=torch.bool)
    memory = scout.begin(scout.start(Clues(), Trial(1, STEPS), rng), rng.at("begin"), episode=0)
    actions = []
    for t in range(STEPS):
        actions.append(scout.act(memory, nothing, rng.at("act", t), explore=True).action)
        memory = scout.observe(memory, Step(nothing, actions[-1], nothing, nothing, never, never))
    return torch.stack(actions)


def test_an_action_is_kept_for_ten_steps_on_average_and_then_any_may_follow():
    actions = walked(Box((-1.0, 0.0), (1.0, 0.5)))
    kept = (actions[1:] == actions[:-1]).all(-1).float()
    assert abs(kept.mean() - 0.9) < 4 * (0.09 / kept.numel()) ** 0.5
    for side, (low, high) in enumerate(((-1.0, 1.0), (0.0, 0.5))):
        found = actions[..., side]
        assert found.min() >= low
        assert found.max() <= high
        assert (found.min() - low) + (high - found.max()) < 0.05 * (high - low)


def test_all_of_a_list_of_actions_are_drawn_alike():
    share = walked(Discrete(4))[::30].flatten().bincount(minlength=4) / (2 * ROWS)
    assert ((share - 0.25).abs() < 4 * (0.25 * 0.75 / (2 * ROWS)) ** 0.5).all()


def test_it_comes_farther_than_who_draws_at_every_step():
    """Independent actions of variance 1/3 come to a squared distance of STEPS / 3 on average."""
    far = walked(Box((-1.0,), (1.0,))).sum(0).square().mean()
    assert far > 4 * STEPS / 3


@pytest.mark.parametrize("family", [Corridor(), Reach()], ids=lambda family: family.name)
def test_every_kind_of_family_is_played(family):
    assert evaluate(Explorer(family.action), family, Plan(trials=4)).env_steps > 0

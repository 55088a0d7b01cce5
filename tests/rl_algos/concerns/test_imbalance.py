"""Weights that are given, and weights that make gradients equally long."""

import pytest
import torch

from bridge.errors import UserError
from bridge.rng import Rows
from rl_algos.concerns.combining import combine
from rl_algos.concerns.imbalance import GradNorm, Static

TASK = torch.arange(4)
RNG = Rows.of(0, TASK)
LOSSES = torch.ones(4)


def test_given_weights_are_ratios_and_the_unknown_task_has_their_mean():
    found = combine(torch.eye(4), LOSSES, TASK, Static("1+2+6", 3), RNG)
    assert torch.allclose(found.weights, torch.tensor([1.0, 2.0, 6.0, 3.0]) / 12)


def test_weights_of_some_of_the_tasks_are_theirs():
    found = combine(torch.eye(2), LOSSES[:2], torch.tensor([0, 2]), Static("1+2+6", 3), RNG[:2])
    assert torch.allclose(found.weights, torch.tensor([1.0, 6.0]) / 7)


@pytest.mark.parametrize("weights", ["", "1+2", "1+2+3+4", "1+x+3", "1+0+3", "1+-2+3", "1+nan+3"])
def test_other_weights_are_refused_with_the_tasks(weights):
    with pytest.raises(UserError, match=r"each of the tasks 0 to 2, joined by \+, as in 1\+1\+1"):
        Static(weights, 3)


def test_grad_norm_takes_a_signed_step_of_each_norm_and_keeps_the_sum():
    """Norms 3 and 1: the first weight falls by 3 lr, the second rises by lr, all in units of the root mean square."""
    weigh = GradNorm(2, lr=0.01)
    found = combine(torch.diag(torch.tensor([3.0, 1.0])), LOSSES[:2], TASK[:2], weigh, RNG[:2])
    assert torch.allclose(found.weights, torch.tensor([0.5, 0.5]))  # those of before the step
    unit = 5**0.5
    moved = torch.tensor([1 - 0.03 / unit, 1 + 0.01 / unit])
    assert torch.allclose(weigh.weights.float(), 2 * moved / moved.sum())


def test_grad_norm_ends_where_weighted_gradients_are_equally_long():
    """Closed form: the weights are proportional to 1 / norm, here 2 / 3 and 4 / 3 of norms 2 and 1."""
    weigh, gradients = GradNorm(2, lr=1e-3), torch.diag(torch.tensor([2.0, 1.0]))
    for _ in range(2_000):
        combine(gradients, LOSSES[:2], TASK[:2], weigh, RNG[:2])
    assert torch.allclose(weigh.weights.float(), torch.tensor([2 / 3, 4 / 3]), atol=5e-3)


def test_grad_norm_leaves_the_weights_of_absent_tasks():
    weigh = GradNorm(3)
    combine(torch.diag(torch.tensor([2.0, 1.0])), LOSSES[:2], torch.tensor([0, 2]), weigh, RNG[:2])
    assert weigh.weights[1] == 1
    assert weigh.weights.sum().item() == pytest.approx(3)

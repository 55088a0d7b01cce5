"""Weights from tasks' losses: closed forms, and the same rules of torchjd."""

import pytest
import torch
from torchjd.scalarization import DWA, UW

from bridge.rng import Rows
from rl_algos.concerns.combining import Combiner, combine
from rl_algos.concerns.loss_weights import DynamicAverage, Uncertainty


def weights(rule: Combiner, losses: list[float], task: list[int] | None = None) -> torch.Tensor:
    """The weights of a step on these losses, whose gradients are at right angles."""
    tasks = torch.tensor(task or range(len(losses)))
    gradients = torch.eye(len(losses))
    return combine(gradients, torch.tensor(losses), tasks, rule, Rows.of(0, tasks)).weights


# --- uncertainty weighting --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_uncertainty_ends_at_the_inverse_of_each_loss(scale):
    """Closed form: losses of 1, 3 and 6 have the weights 6, 2 and 1 of 9, whatever their unit."""
    rule, losses = Uncertainty(3, lr=0.1), [scale, 3 * scale, 6 * scale]
    for _ in range(1_500):
        found = weights(rule, losses)
    torch.testing.assert_close(found, torch.tensor([6.0, 2.0, 1.0]) / 9, rtol=1e-4, atol=0)
    torch.testing.assert_close(
        rule.log_variance.exp(), torch.tensor(losses).double(), rtol=1e-4, atol=0
    )


def test_uncertainty_follows_torchjds_loss():
    """Losses below 2, beyond which a step is cut."""
    rule, theirs = Uncertainty(3, lr=0.1), UW(3)
    for losses in ([0.5, 1.0, 1.9], [0.3, 0.9, 1.2], [0.1, 1.5, 1.0]):
        expected = torch.softmax(-theirs.log_var.detach(), 0)
        torch.testing.assert_close(weights(rule, losses), expected)
        (gradient,) = torch.autograd.grad(theirs(torch.tensor(losses)), [theirs.log_var])
        theirs.log_var.data -= 0.1 * gradient
    torch.testing.assert_close(rule.log_variance.float(), theirs.log_var.detach())


@pytest.mark.parametrize(("loss", "step"), [(1e6, 0.05), (1.5, 0.025), (1.0, 0.0), (1e-9, -0.05)])
def test_a_step_of_uncertainty_is_at_most_half_its_rate(loss, step):
    rule = Uncertainty(1, lr=0.1)
    weights(rule, [loss])
    assert rule.log_variance.item() == pytest.approx(step, abs=1e-8)


# --- dynamic weight average -------------------------------------------------------------------------------------------


def test_dynamic_average_is_torchjds():
    rule, theirs = DynamicAverage(3, epoch=4), DWA()
    noise = Rows.of(1, torch.arange(20)).uniform(3) + 0.1
    for step, losses in enumerate(noise):
        values = losses.clone().requires_grad_()
        theirs(values).backward()
        torch.testing.assert_close(weights(rule, losses.tolist()), values.grad / 3)
        if step % 4 == 3:
            theirs.step()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_dynamic_average_favours_the_loss_that_falls_more_slowly_whatever_its_size(scale):
    """Closed form: one loss stays and one falls to a quarter, so their ratios are 1 and 1/4."""
    rule = DynamicAverage(2, epoch=1, temperature=0.5)
    for losses in ([scale, 4.0], [scale, 1.0]):
        torch.testing.assert_close(weights(rule, losses), torch.tensor([0.5, 0.5]))
    expected = torch.tensor([2.0, 0.5]).softmax(0)
    torch.testing.assert_close(weights(rule, [scale, 1.0]), expected)


def test_an_epoch_is_of_the_steps_that_a_task_takes_part_in():
    """Task 1 takes part in every other step; its ratio is 1 until two epochs of its own have ended."""
    rule = DynamicAverage(2, epoch=1, temperature=1.0)
    for step in range(4):
        weights(rule, [2.0**-step, 1.0] if step % 2 else [2.0**-step], [0, 1] if step % 2 else [0])
    assert (rule.before.tolist(), rule.last.tolist()) == ([0.25, 1.0], [0.125, 1.0])


@pytest.mark.parametrize("rule", [Uncertainty, DynamicAverage])
def test_a_rule_that_is_restored_goes_on_alike(rule):
    one, two = rule(3), rule(3)
    for losses in ([1.0, 2.0, 3.0], [3.0, 1.0, 0.5]):
        weights(one, losses)
    two.load_state_dict(one.state_dict())
    assert torch.equal(weights(one, [1.0, 2.0, 3.0]), weights(two, [1.0, 2.0, 3.0]))
    for mine, theirs in zip(one.buffers(), two.buffers(), strict=True):
        assert torch.equal(mine, theirs)

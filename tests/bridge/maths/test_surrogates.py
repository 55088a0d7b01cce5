"""Surrogates against the exact derivatives of the expected return, by enumerating every trajectory of a small MDP."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev

from bridge.maths.surrogates import ESTIMATORS, clipped_surrogate, spread, surrogate
from tests.bridge.maths import two_steps

THETA = torch.tensor([[0.2, -0.5], [0.9, 0.1], [-0.3, 0.4]], dtype=torch.float64)
"""Logits of each state's actions, all different from each other's."""
BASELINE = torch.tensor([0.37, -0.2, 0.61], dtype=torch.float64)
"""Any function of the state."""
ADVANTAGE = two_steps.TO_GO - BASELINE[two_steps.STATES]


def exact(theta: Tensor) -> Tensor:
    return two_steps.expected_return(theta.log_softmax(1))


def expected(estimator: str, horizon: int = 2):
    """The expectation of the surrogate over trajectories of the policy ``THETA``, as a function of parameters.

    With a horizon of 1 a trajectory's steps are episodes of their own, and rewards pay for their own step alone.
    """
    chance = two_steps.chances(THETA.log_softmax(1))
    behaviour = two_steps.log_probs(THETA.log_softmax(1))

    def value(theta: Tensor) -> Tensor:
        log_prob = two_steps.log_probs(theta.log_softmax(1))
        if horizon == 1:
            return (
                chance
                * surrogate(log_prob[:, :1], behaviour[:, :1], ADVANTAGE[:, :1], estimator).sum(1)
            ).sum()
        return (chance * surrogate(log_prob, behaviour, ADVANTAGE, estimator).sum(1)).sum()

    return value


def hessian(function: Callable[[Tensor], Tensor]) -> Tensor:
    """At ``THETA``, ``[3, 2, 3, 2]``."""
    return jacrev(grad(function))(THETA)


def products(lagged: bool) -> Tensor:
    """E[sum_t A_t (g_t g_t' or, lagged, g_t G_t' + G_t g_t')], from scores written out by hand."""
    policy = THETA.softmax(1)
    score = torch.zeros(8, 2, 3, 2, dtype=torch.float64)  # of each path and step, by logit
    for path in range(8):
        for t in range(2):
            s, a = two_steps.STATES[path, t], two_steps.ACTIONS[path, t]
            score[path, t, s] = -policy[s]
            score[path, t, s, a] += 1
    score = score.flatten(2)
    chance = two_steps.chances(THETA.log_softmax(1))
    total = torch.zeros(6, 6, dtype=torch.float64)
    for path in range(8):
        first, second = score[path]
        for advantage, own, before in (
            (ADVANTAGE[path, 0], first, 0 * first),
            (ADVANTAGE[path, 1], second, first),
        ):
            outer = (
                torch.outer(own, before) + torch.outer(before, own)
                if lagged
                else torch.outer(own, own)
            )
            total += chance[path] * advantage * outer
    return total.view(3, 2, 3, 2)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_first_derivatives_are_the_policy_gradient(estimator):
    torch.testing.assert_close(
        grad(expected(estimator))(THETA), grad(exact)(THETA), atol=1e-14, rtol=0
    )


def test_the_second_derivative_of_dice_is_exact():
    torch.testing.assert_close(hessian(expected("dice")), hessian(exact), atol=1e-14, rtol=0)


def test_lvc_lacks_the_products_across_time_and_nothing_else():
    missing = hessian(exact) - hessian(expected("lvc"))
    torch.testing.assert_close(missing, products(lagged=True), atol=1e-14, rtol=0)
    assert missing.abs().max() > 0.01


@pytest.mark.parametrize("estimator", ["lvc", "dice"])
def test_lvc_and_dice_are_exact_where_episodes_have_one_step(estimator):
    """The first step's advantages as the rewards of a bandit."""

    def bandit(theta: Tensor) -> Tensor:
        paid = two_steps.chances(THETA.log_softmax(1)) * two_steps.TO_GO[:, 0]
        chance = two_steps.log_probs(THETA.log_softmax(1))[:, 0].exp()
        return (paid / chance * two_steps.log_probs(theta.log_softmax(1))[:, 0].exp()).sum()

    torch.testing.assert_close(hessian(expected(estimator, 1)), hessian(bandit), atol=1e-14, rtol=0)


def test_maml_lacks_the_sampling_term():
    missing = hessian(exact) - hessian(expected("maml"))
    torch.testing.assert_close(
        missing, products(lagged=False) + products(lagged=True), atol=1e-14, rtol=0
    )
    assert (missing - products(lagged=True)).abs().max() > 0.01


def test_lvc_is_right_where_the_policy_has_moved_on():
    """At other parameters than those that played, its ratio makes the expected value of one-step episodes exact."""
    moved = THETA + torch.tensor([[0.3, 0.0], [0.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    chance = two_steps.chances(moved.log_softmax(1))
    paid = (chance * ADVANTAGE[:, 0]).sum()  # only the first state's policy has moved
    torch.testing.assert_close(expected("lvc", 1)(moved), paid, atol=1e-14, rtol=0)


def test_clipping_stops_the_gradient_where_there_is_nothing_more_to_gain():
    behaviour = torch.zeros(4)
    log_prob = torch.tensor([1.5, 1.5, 0.5, 0.5]).log().requires_grad_()
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    value = clipped_surrogate(log_prob, behaviour, advantage, 0.2)
    torch.testing.assert_close(value, torch.tensor([1.2, -1.5, 0.5, -0.8]))
    value.sum().backward()
    torch.testing.assert_close(log_prob.grad, torch.tensor([0.0, -1.5, 0.5, 0.0]))


def test_an_infinite_clip_is_none():
    log_prob, advantage = torch.tensor([2.0, -3.0]), torch.tensor([-1.0, 2.0])
    value = clipped_surrogate(log_prob, torch.zeros(2), advantage, float("inf"))
    torch.testing.assert_close(value, log_prob.exp() * advantage)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_spread_and_how_it_changes_with_the_policy(estimator):
    """Of three steps, one not lived, where the policy has moved since: lvc weighs squares by the ratio, dice by none,
    and both have the derivative of the weighed squares; for the others it is a constant."""
    behaviour = torch.tensor([-0.7, -1.2, 0.0], dtype=torch.float64)
    log_prob = torch.tensor([-0.3, -1.4, 0.0], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([2.0, -1.0, 0.0], dtype=torch.float64)
    live = torch.tensor([True, True, False])
    found = spread(log_prob, behaviour, advantage, live, estimator)
    ratio = (
        (log_prob.detach() - behaviour).exp()
        if estimator == "lvc"
        else torch.ones(3, dtype=torch.float64)
    )
    square = ratio * advantage**2
    expected = (square.sum() / 2).sqrt()
    torch.testing.assert_close(found.detach(), expected, atol=1e-9, rtol=0)
    slope = (
        square / 2 / (2 * expected)
        if estimator in ("lvc", "dice")
        else torch.zeros(3, dtype=torch.float64)
    )
    if found.requires_grad:
        found.backward()
    torch.testing.assert_close(
        log_prob.grad if found.requires_grad else 0 * slope, slope, atol=1e-9, rtol=0
    )


@pytest.mark.parametrize("lived", [True, False])
def test_the_spread_of_equal_advantages_is_small_and_not_nothing(lived):
    log_prob = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    nothing, live = torch.zeros(2, dtype=torch.float64), torch.tensor([lived, lived])
    found = spread(log_prob, nothing, nothing, live, "lvc")
    found.backward()
    assert found.item() == pytest.approx(1e-5)
    assert log_prob.grad.tolist() == [0, 0]

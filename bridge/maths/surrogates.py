"""Surrogates: functions of a policy's log-probabilities whose derivatives estimate those of the expected return J.

They share the first derivative, the policy gradient, and differ in the second, which MAML uses when it differentiates
through an inner step. For a trajectory of H steps let g_t be the gradient of log pi(a_t | s_t), h_t its Hessian, and
A_t the advantage. Then the second derivative of the surrogate is, summed over t,

* ``dice``: A_t (h_t + g_t g_t' + g_t G_t' + G_t g_t') with G_t the sum of g over earlier steps. Its expectation is that
  of J exactly (Foerster et al. 2018, "DiCE"; with advantages as in Farquhar et al. 2019, "Loaded DiCE", equation 11).
* ``lvc``: A_t (h_t + g_t g_t'). It drops the products across time, which have most of the variance (Rothfuss et al.
  2019, "ProMP: Proximal Meta-Policy Search", equation 12). Its expectation is exact if episodes have one step.
* ``maml``: A_t h_t. It drops the term of the sampling distribution (the published code of Finn et al. 2017).
* ``fomaml``: zero. Values are those of ``maml``; the caller must not differentiate through the gradient.

Shape letters: H steps of an episode (the last axis), the rest are batch axes.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Estimator = Literal["lvc", "dice", "maml", "fomaml"]
LEAST_SPREAD = 1e-5
"""Added to standard deviations before dividing by them: far smaller ones are rounding errors."""

Steps = Float[Tensor, "*batch H"]
"""A number for each step of an episode."""
Numbers = Float[Tensor, "*batch"]
"""A number for each step, in any shape."""

ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


def surrogate(
    log_prob: Steps,
    behaviour: Steps,
    advantage: Steps,
    estimator: Estimator,
) -> Steps:
    """The surrogate of every step, to be averaged and maximised; steps that are not live have advantage 0.

    Args:
        log_prob: log-probabilities of the actions taken, in nats, differentiable in the policy; 0 if not live.
        behaviour: log-probabilities of the same actions under the policy that took them, without gradient. ``lvc``
            weighs by their ratio (ProMP, equation 12); the others do not correct.
        advantage: advantages of the actions taken, without gradient.
        estimator: the name of the second derivative.
    """
    if estimator == "lvc":
        return (log_prob - behaviour).exp() * advantage
    if estimator == "dice":
        own = log_prob - log_prob.detach()
        through = own.cumsum(-1)
        return (through.exp() - (through - own).exp()) * advantage
    return log_prob * advantage


def spread(
    log_prob: Steps,
    behaviour: Steps,
    advantage: Steps,
    live: Bool[Tensor, "*batch H"],
    estimator: Estimator,
) -> Float[Tensor, ""]:
    """The standard deviation of the advantages of all live steps, as a function of the policy.

    A policy that varies its actions less has advantages that vary less, so that steps divided by this are longer. If it
    is held constant (``maml`` and ``fomaml``, as in published code), the meta-gradient misses that less noise in play
    lengthens inner steps. ``lvc`` and ``dice`` weigh squares as ``surrogate`` weighs advantages.

    Args:
        log_prob, behaviour, estimator: as for ``surrogate``.
        advantage: advantages of mean 0; 0 if not live.
        live: False for the padding after an episode's end.
    """
    steps = live.sum().clamp(min=1)
    square = advantage.square()
    if estimator == "lvc":
        square = (log_prob - behaviour).exp() * square
    elif estimator == "dice":
        square = (log_prob - log_prob.detach()).exp() * square
    return (square.sum() / steps + LEAST_SPREAD**2).sqrt()


def clipped_surrogate(
    log_prob: Numbers,
    behaviour: Numbers,
    advantage: Numbers,
    clip: float,
) -> Numbers:
    """PPO's surrogate of every step (Schulman et al. 2017, equation 7), to be averaged and maximised.

    Args:
        log_prob: log-probabilities of the actions taken, in nats.
        behaviour: log-probabilities of the same actions under the policy that took them.
        advantage: advantages of the actions taken.
        clip: the gradient is zero once the ratio of probabilities has moved this far from 1; infinite: no limit.
    """
    ratio = (log_prob - behaviour).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)

"""Surrogates: functions of a policy's log-probabilities whose derivatives estimate those of the expected return J.

Their first derivatives are one and the same, the policy gradient. What an inner step of MAML is differentiated through
is the second, where they differ. For a trajectory of H steps let g_t be the gradient of log pi(a_t | s_t), h_t its
Hessian, and A_t the advantage. Then the second derivative of the surrogate is, summed over t,

* ``dice``: A_t (h_t + g_t g_t' + g_t G_t' + G_t g_t') with G_t the sum of g over earlier steps. Its expectation is that
  of J exactly (Foerster et al. 2018, "DiCE"; with advantages as in Farquhar et al. 2019, "Loaded DiCE", equation 11).
* ``lvc``: A_t (h_t + g_t g_t'). It lacks the products across time, most of the variance (Rothfuss et al. 2019, "ProMP:
  Proximal Meta-Policy Search", equation 12). Its expectation is exact where episodes have one step.
* ``maml``: A_t h_t. It lacks the term of the sampling distribution (the published code of Finn et al. 2017).
* ``fomaml``: none at all; whoever takes the gradient must stop there. Its values are those of ``maml``.

Shape letters: H steps of an episode (the last axis), the rest are batch axes.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Estimator = Literal["lvc", "dice", "maml", "fomaml"]
_LEAST_SPREAD = 1e-5
"""Standard deviations far below this are rounding, and what is divided by them stays small."""

ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


def surrogate(
    log_prob: Float[Tensor, "*batch H"],
    behaviour: Float[Tensor, "*batch H"],
    advantage: Float[Tensor, "*batch H"],
    estimator: Estimator,
) -> Float[Tensor, "*batch H"]:
    """The surrogate of every step, to be averaged and maximised; steps that were not lived have advantage 0.

    Args:
        log_prob: of the actions taken, in nats, as a differentiable function of the policy; 0 for steps not lived.
        behaviour: of the same actions by the policy that took them: a constant. At the policy that played both are
            equal; elsewhere ``lvc`` weighs by their ratio (ProMP, equation 12) and the others do not correct.
        advantage: of the actions taken: a constant.
        estimator: which second derivative.
    """
    if estimator == "lvc":
        return (log_prob - behaviour).exp() * advantage
    if estimator == "dice":
        own = log_prob - log_prob.detach()
        through = own.cumsum(-1)
        return (through.exp() - (through - own).exp()) * advantage
    return log_prob * advantage


def spread(
    log_prob: Float[Tensor, "*batch H"],
    behaviour: Float[Tensor, "*batch H"],
    advantage: Float[Tensor, "*batch H"],
    live: Bool[Tensor, "*batch H"],
    estimator: Estimator,
) -> Float[Tensor, ""]:
    """The standard deviation of the advantages of all steps lived, as a function of the policy.

    Where a policy varies its actions less, its advantages vary less, too, and steps in units of this are longer. Held
    constant (``maml`` and ``fomaml``, as in published code), it hides from a meta-learner that it lengthens inner steps
    when it plays with less noise. ``lvc`` and ``dice`` weigh squares as ``surrogate`` weighs advantages.

    Args:
        log_prob, behaviour, estimator: as for ``surrogate``.
        advantage: of mean 0; 0 for steps not lived.
        live: which steps were lived.
    """
    steps = live.sum().clamp(min=1)
    square = advantage.square()
    if estimator in ("lvc", "dice"):
        square = (
            log_prob - (behaviour if estimator == "lvc" else log_prob.detach())
        ).exp() * square
    return (square.sum() / steps + _LEAST_SPREAD**2).sqrt()


def clipped_surrogate(
    log_prob: Float[Tensor, "*batch"],
    behaviour: Float[Tensor, "*batch"],
    advantage: Float[Tensor, "*batch"],
    clip: float,
) -> Float[Tensor, "*batch"]:
    """PPO's surrogate of every step (Schulman et al. 2017, equation 7), to be averaged and maximised.

    Args:
        log_prob: of the actions taken, in nats.
        behaviour: the same by the policy that took them.
        advantage: of the actions taken.
        clip: how far the ratio of probabilities may move before its gradient stops; infinite: no limit.
    """
    ratio = (log_prob - behaviour).exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)

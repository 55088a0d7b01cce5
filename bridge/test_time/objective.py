"""Objectives of gradient steps within a trial: MAML's inner policy gradient, or the likelihood of demonstrations.

Shape letters: B trials, E episodes, H steps.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bridge.errors import UserError
from bridge.maths.surrogates import clipped_surrogate
from bridge.protocol import Trial


def episodes_apart(episodes: int, trial: Trial, key: str) -> int:
    """Episodes between gradient steps.

    Args:
        episodes: the number that is set; 0: a quarter of a trial's, from 2 to 20.
        trial: the trial.
        key: the setting's name, for the error.

    Raises:
        UserError: there is a single step between gradient steps: one reward gives no advantage.
    """
    count = episodes or min(20, max(2, trial.episodes // 4))
    if count * trial.horizon < 2:
        raise UserError(f"A gradient step needs two or more environment steps. Raise {key}.")
    return count


def mean_gain(
    log_prob: Float[Tensor, "B E H"],
    behaviour: Float[Tensor, "B E H"],
    weight: Float[Tensor, "B E H"],
    live: Bool[Tensor, "B E H"],
    clip: float | None,
) -> Float[Tensor, " B"]:
    """The objective of each trial, a mean over its live steps.

    Args:
        log_prob: log-probability of each action, in nats, as a differentiable function of the weights.
        behaviour: the same before the first gradient step: a constant.
        weight: weight of each step.
        live: False at empty places.
        clip: largest change of a probability, as a ratio, before its gradient stops: PPO's surrogate, whose first two
            derivatives before the first step are those of ``lvc``. None: the weighted log-likelihood.
    """
    log_prob, behaviour = (torch.where(live, value, 0.0) for value in (log_prob, behaviour))
    gain = log_prob * weight
    if clip is not None:
        gain = clipped_surrogate(log_prob, behaviour, weight, clip)
    return gain.sum((1, 2)) / live.sum((1, 2)).clamp(min=1)

"""What gradient steps in a trial go up: the policy gradient of MAML's inner loop, or the likelihood of demonstrations.

Shape letters: B trials, E episodes, H steps.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bridge import spaces
from bridge.errors import UserError
from bridge.maths.baselines import Baseline, episode_advantages, standardised
from bridge.maths.surrogates import clipped_surrogate
from bridge.protocol import Trial
from bridge.tasks.base import Box, Discrete
from bridge.test_time.trial_buffer import TrialBuffer


def episodes_apart(asked: int, trial: Trial, key: str) -> int:
    """Episodes between gradient steps: as many as were asked for; 0: a quarter of a trial's, from 2 to 20.

    Raises:
        UserError: episodes of one step, one at a time: no advantage can be told from a single reward. ``key`` names
            what to raise.
    """
    count = asked or min(20, max(2, trial.episodes // 4))
    if count * trial.horizon < 2:
        raise UserError(f"A gradient step needs two or more environment steps. Raise {key}.")
    return count


def advantages(
    lived: TrialBuffer, observation: Discrete | Box, *, gamma: float, lam: float, baseline: Baseline
) -> Float[Tensor, "B E H"]:
    """How much better than expected each step was, in units of reward; 0 at empty places.

    Args:
        lived: episodes on one task each.
        observation: their space.
        gamma: discount a step, in [0, 1].
        lam: trace of the generalised advantage, in [0, 1].
        baseline: what is subtracted from returns.
    """
    seen = spaces.features(lived.obs, observation)
    return episode_advantages(
        lived.reward, seen, lived.live, gamma=gamma, lam=lam, baseline=baseline
    )


def by_trial(advantage: Float[Tensor, "B E H"], lived: TrialBuffer) -> Float[Tensor, "B E H"]:
    """The same in each trial's own standard deviations, of mean 0."""
    return standardised(advantage, lived.live, (1, 2))


def mean_gain(
    log_prob: Float[Tensor, "B E H"],
    behaviour: Float[Tensor, "B E H"],
    weight: Float[Tensor, "B E H"],
    live: Bool[Tensor, "B E H"],
    clip: float | None,
) -> Float[Tensor, " B"]:
    """What each trial maximises: a mean over the steps it has lived.

    Args:
        log_prob: of what was done, in nats, as a differentiable function of the weights.
        behaviour: the same where the steps begin: a constant.
        weight: what each step counts.
        live: which steps were lived.
        clip: how far a probability may move, as a ratio, before its gradient stops (PPO's surrogate, whose first two
            derivatives where the steps begin are those of ``lvc``); None: the weighted likelihood itself.
    """
    log_prob, behaviour = (torch.where(live, said, 0.0) for said in (log_prob, behaviour))
    each = (
        log_prob * weight if clip is None else clipped_surrogate(log_prob, behaviour, weight, clip)
    )
    return each.sum((1, 2)) / live.sum((1, 2)).clamp(min=1)

"""PPO (Schulman et al. 2017) on whole trials: the constants of an update, the losses of a minibatch, and diagnostics.

The objective is the return of a trial: advantages run across the ends of its episodes and are standardised over the
batch. Every live step of a batch has the same weight. Trials shorter than the longest are padded at their end; padding
enters no mean.

Shape letters: T steps of the longest trial, B trials of a batch, b trials of a minibatch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.maths.returns import ReturnScale, trial_advantages
from bridge.maths.surrogates import clipped_surrogate

_LARGEST_LOG_RATIO = 50.0
"""Larger ones count as this in the estimated divergence, which stays a finite number so."""
_LEAST_VARIANCE = 1e-12
"""Targets of a smaller variance, in squared standard scores, are equal but for rounding."""


class PpoTargets(NamedTuple):
    """The constants of an update on a batch of trials."""

    behaviour: Float[Tensor, "T B"]
    """Log-probability of the action under the policy that took it, in nats."""
    target: Float[Tensor, "T B"]
    """The critic's target, as a standard score."""
    advantage: Float[Tensor, "T B"]
    """Mean 0 and standard deviation 1 over the live steps of all processes' batches."""
    live: Bool[Tensor, "T B"]
    """False in padding."""
    length: float
    """Mean number of live steps a trial, over all processes."""

    def columns(self, trials: Int[Tensor, " b"]) -> PpoTargets:
        """The constants of some of the trials."""
        tensors = (self.behaviour, self.target, self.advantage, self.live)
        return PpoTargets(*(part[:, trials] for part in tensors), length=self.length)


class Losses(NamedTuple):
    """Means over live steps."""

    loss_policy: Float[Tensor, ""]
    """The negative clipped surrogate."""
    loss_value: Float[Tensor, ""]
    """The critic's squared error, in squared standard scores."""
    entropy: Float[Tensor, ""]
    """Entropy of the policy, in nats."""
    clipped: Float[Tensor, ""]
    """Share of steps whose ratio of probabilities is beyond the clip; no gradient."""
    approx_kl: Float[Tensor, ""]
    """Estimated divergence of the policy from the one that played, KL(old || new) in nats; no gradient.

    The mean of r - 1 - log r with r the ratio of probabilities (k3 in Schulman 2020, "Approximating KL divergence"):
    never negative, and unbiased.
    """

    def total(self, *, value_weight: float, bonus: float) -> Float[Tensor, ""]:
        """The loss that is minimised; ``bonus`` is the weight of the entropy."""
        return self.loss_policy + value_weight * self.loss_value - bonus * self.entropy


def ppo_targets(
    behaviour: Float[Tensor, "T B"],
    score: Float[Tensor, "T B"],
    reward: Float[Tensor, "T B"],
    live: Bool[Tensor, "T B"],
    scale: ReturnScale,
    *,
    length: float,
    gamma: float,
    lam: float,
    average: Callable[[Tensor], Tensor] = lambda mine: mine,
) -> PpoTargets:
    """The critic's targets and standardised generalised advantages.

    Args:
        behaviour: log-probabilities of the actions taken, in nats.
        score: the critic's output before each step, as a standard score.
        reward: reward that the critic learns from; 0 in padding.
        live: False in padding.
        scale: statistics of returns, this batch's included.
        length: mean number of live steps a trial, over all processes.
        gamma: discount a step, in [0, 1].
        lam: trace of the generalised advantage, in [0, 1].
        average: mean of a tensor over the processes, each of which has played a batch.
    """
    value = torch.where(live, scale.to_return(score), 0.0)
    advantage = trial_advantages(reward, value, gamma=gamma, lam=lam)
    target = scale.to_score(advantage + value)
    advantage = advantage - average(live_mean(advantage, live, length))
    spread = average(live_mean(advantage.square(), live, length)).sqrt()
    return PpoTargets(behaviour, target, advantage / (spread + 1e-8), live, length)


def losses(
    log_prob: Float[Tensor, "T b"],
    entropy: Float[Tensor, "T b"],
    score: Float[Tensor, "T b"],
    targets: PpoTargets,
    *,
    clip: float,
) -> Losses:
    """Losses of a minibatch. Their averages over equal minibatches, and over processes, are those of the whole batch.

    Args:
        log_prob: log-probabilities of the actions taken, in nats, as a differentiable function of the policy.
        entropy: entropy of the policy at each step, in nats.
        score: the critic's output, as a standard score.
        targets: constants of the same trials.
        clip: largest change of a ratio of probabilities before its gradient stops.
    """
    live, length = targets.live, targets.length
    log_prob = torch.where(live, log_prob, 0.0)  # a ratio in padding could overflow
    behaviour = torch.where(live, targets.behaviour, 0.0)
    gain = clipped_surrogate(log_prob, behaviour, targets.advantage, clip)
    log_ratio = (log_prob - behaviour).detach()
    ratio = log_ratio.exp()
    beyond = ratio != ratio.clamp(1 - clip, 1 + clip)
    bounded = log_ratio.clamp(max=_LARGEST_LOG_RATIO)
    error = (score - targets.target).square()
    return Losses(
        loss_policy=-live_mean(gain, live, length),
        loss_value=live_mean(error, live, length),
        entropy=live_mean(entropy, live, length),
        clipped=live_mean(beyond.float(), live, length),
        approx_kl=live_mean(bounded.exp() - 1 - bounded, live, length),
    )


def explained_variance(
    score: Float[Tensor, "T B"],
    targets: PpoTargets,
    average: Callable[[Tensor], Tensor] = lambda mine: mine,
) -> float:
    """Share of the variance of the critic's targets that its scores explain: 1 - var(target - score) / var(target).

    1: every target is predicted. 0: no better than a constant score (or the targets are all equal). Negative: worse.
    Variances are over the live steps of all processes' batches.

    Args:
        score: the critic's output, as a standard score.
        targets: constants of the same trials.
        average: mean of a tensor over the processes.
    """

    def variance(value: Float[Tensor, "T B"]) -> float:
        mean = average(live_mean(value, targets.live, targets.length))
        return average(live_mean((value - mean).square(), targets.live, targets.length)).item()

    total, unexplained = variance(targets.target), variance(targets.target - score.detach())
    return 1 - unexplained / total if total > _LEAST_VARIANCE else 0.0


def live_mean(
    each: Float[Tensor, "T b"], live: Bool[Tensor, "T b"], length: float
) -> Float[Tensor, ""]:
    """The sum over live steps divided by b ``length``, so that averages over equal minibatches are the batch's."""
    return torch.where(live, each, 0.0).sum() / (length * each.shape[1])

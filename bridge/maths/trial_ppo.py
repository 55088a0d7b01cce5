"""PPO (Schulman et al. 2017) on whole trials: what an update holds fixed, and the losses of a part of its batch.

The return of a trial is the objective: advantages run across the ends of its episodes, and are standardised over the
batch. Every live step of a batch weighs the same. A trial that is shorter than the longest is padded at its end, and
padding enters no mean.

Shape letters: T steps of the longest trial, B trials of a batch, b trials of a part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.maths.returns import ReturnScale, trial_advantages
from bridge.maths.surrogates import clipped_surrogate


class PpoTargets(NamedTuple):
    """What was done in a batch of trials, and how good it was: constants of an update."""

    behaviour: Float[Tensor, "T B"]
    """Log-probability of the action by the policy that took it, in nats."""
    target: Float[Tensor, "T B"]
    """What the critic should have said, as a standard score."""
    advantage: Float[Tensor, "T B"]
    """Of mean 0 and standard deviation 1 over the live steps of all processes' batches."""
    live: Bool[Tensor, "T B"]
    """False in padding."""
    length: float
    """Live steps of a trial, on average over all processes."""

    def columns(self, rows: Int[Tensor, " b"]) -> PpoTargets:
        """Some of the trials."""
        own = (self.behaviour, self.target, self.advantage, self.live)
        return PpoTargets(*(part[:, rows] for part in own), length=self.length)


class Losses(NamedTuple):
    """Means over live steps."""

    loss_policy: Float[Tensor, ""]
    """The negative clipped surrogate."""
    loss_value: Float[Tensor, ""]
    """The critic's squared error, in squared standard deviations of returns."""
    entropy: Float[Tensor, ""]
    """Of the policy, in nats."""
    clipped: Float[Tensor, ""]
    """Share of steps whose ratio of probabilities is beyond the clip; no gradient."""


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
    """The critic's targets, and standardised generalised advantages.

    Args:
        behaviour: log-probabilities of the actions taken, in nats.
        score: what the critic said before each step, as a standard score.
        reward: reward that the critic learns; 0 in padding.
        live: False in padding.
        scale: of returns; it knows this batch.
        length: live steps of a trial, on average over all processes.
        gamma: discount a step, in [0, 1].
        lam: trace of the generalised advantage, in [0, 1].
        average: over the processes that have played a batch each.
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
    """Of a part of a batch; averages over equal parts, and over processes, are those of the whole.

    Args:
        log_prob: of the actions taken, in nats, as a differentiable function of the policy.
        entropy: of the policy at each step, in nats.
        score: what the critic says, as a standard score.
        targets: the same trials'.
        clip: how far a ratio of probabilities may move before its gradient stops.
    """
    live, length = targets.live, targets.length
    log_prob, behaviour = (
        torch.where(live, said, 0.0) for said in (log_prob, targets.behaviour)
    )  # padding's: overflow
    gain = clipped_surrogate(log_prob, behaviour, targets.advantage, clip)
    ratio = (log_prob - behaviour).detach().exp()
    beyond = ratio != ratio.clamp(1 - clip, 1 + clip)
    error = (score - targets.target).square()
    return Losses(
        loss_policy=-live_mean(gain, live, length),
        loss_value=live_mean(error, live, length),
        entropy=live_mean(entropy, live, length),
        clipped=live_mean(beyond.float(), live, length),
    )


def live_mean(
    each: Float[Tensor, "T b"], live: Bool[Tensor, "T b"], length: float
) -> Float[Tensor, ""]:
    """Over the live steps of b trials, as if each had ``length``: the average over equal parts is then the whole's."""
    return torch.where(live, each, 0.0).sum() / (length * each.shape[1])

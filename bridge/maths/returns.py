"""Advantages over whole trials: returns run across the ends of the episodes inside a trial.

If episodes can end early, trials differ in length. Then T is that of the longest trial, the others are padded at their
end, and ``live`` is False in padding.

Shape letters: T steps of a trial (K episodes of at most H steps, one after another), B trials, S most steps of a trial.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

Steps = Float[Tensor, "T B"]
"""A number for each step of each trial."""


def trial_advantages(reward: Steps, value: Steps, *, gamma: float, lam: float) -> Steps:
    """Generalised advantages (Schulman et al. 2016, equation 16) with the trial as the unit.

    A_t = sum_l (gamma lam)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}), where V is 0 after the trial's last step and is not
    reset at the ends of episodes: the return of a trial is the objective (Duan et al. 2016, section 2.2).

    Args:
        reward: reward of each step; 0 in padding.
        value: the critic's estimate before each step; 0 in padding.
        gamma: discount a step, in [0, 1].
        lam: 0 is one-step temporal difference, 1 Monte Carlo.
    """
    after = torch.cat([value[1:], torch.zeros_like(value[:1])])
    delta = reward + gamma * after - value
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + gamma * lam * running
        advantage[t] = running
    return advantage


class ReturnScale(nn.Module):
    """Running mean (one for each step of a trial) and standard deviation of discounted returns to go.

    A critic that predicts standardised returns has targets of order 1 on every family (PopArt, van Hasselt et al. 2016,
    without the rescaling of weights). Untrained, it already is a baseline that depends on time, which explains most of
    the returns if they shrink from 80 to 0 over a trial. A step's mean is over the trials that reach it.

    Args:
        steps: S, the largest number of steps of a trial.
        memory: weight of the old statistics at each update, once there have been many.
    """

    mean: Tensor
    square: Tensor
    updates: Tensor

    def __init__(self, steps: int, memory: float = 0.95) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("mean", torch.zeros(steps, 1))
        self.register_buffer("square", torch.ones(()))
        # updates in which some trial reached the step
        self.register_buffer("updates", torch.zeros(steps, 1, dtype=torch.int64))

    def update(
        self,
        reward: Steps,
        live: Bool[Tensor, "T B"],
        *,
        gamma: float,
        average: Callable[[Tensor], Tensor] = lambda mine: mine,
    ) -> None:
        """Update the statistics with the rewards of more trials; ``average`` is the mean over parallel processes."""
        returns = trial_advantages(reward, torch.zeros_like(reward), gamma=gamma, lam=1.0)
        trials = average(self._by_step(live.float()))
        self.updates += trials > 0
        share = (1 / self.updates).clamp(min=1 - self.memory)
        mean = average(self._by_step(returns) / trials)
        self.mean += torch.where(trials > 0, share * (mean - self.mean), 0.0)
        off = torch.where(live, returns - self.mean[: len(returns)], 0.0)
        self.square += share[0, 0] * (average(off.square().sum() / trials.sum()) - self.square)

    def _by_step(self, each: Steps) -> Float[Tensor, "S 1"]:
        """Sums over trials, padded to S steps so that parallel processes can average them."""
        return nn.functional.pad(each.sum(1, keepdim=True), (0, 0, 0, len(self.mean) - len(each)))

    def to_return(self, score: Steps) -> Steps:
        """Convert standard scores into returns to go."""
        return self.mean[: len(score)] + self.square.sqrt() * score

    def to_score(self, returns: Steps) -> Steps:
        """Convert returns to go into standard scores."""
        return (returns - self.mean[: len(returns)]) / (self.square.sqrt() + 1e-8)

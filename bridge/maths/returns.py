"""Advantages over whole trials: the episode ends inside a trial are part of the task, not cuts.

Where episodes can end early, trials differ in length. Then T is that of the longest trial, the others are padded at
their end, and ``live`` says which steps are real (None: all of them).

Shape letters: T steps of a trial (K episodes of at most H steps, one after another), B trials, S most steps of a trial.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def trial_advantages(
    reward: Float[Tensor, "T B"], value: Float[Tensor, "T B"], *, gamma: float, lam: float
) -> Float[Tensor, "T B"]:
    """Generalised advantages (Schulman et al. 2016, equation 16) with the trial as the unit.

    A_t = sum_l (gamma lam)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}), where V is 0 after the trial's last step and is not
    cut at the ends of episodes: the return of a trial is the objective (Duan et al. 2016, section 2.2).

    Args:
        reward: what each step paid; 0 where a trial is padded.
        value: the critic's estimate before each step; 0 where a trial is padded.
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
    without the rescaling of weights), and starts out as a baseline that knows the time, which is most of what there is
    to know where returns shrink from 80 to 0 over a trial. A step's mean is over the trials that reach it.

    Args:
        steps: S, most steps of a trial.
        memory: how much of the statistics stays at each update, once there have been many.
    """

    mean: Tensor
    square: Tensor
    updates: Tensor

    def __init__(self, steps: int, memory: float = 0.95) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("mean", torch.zeros(steps, 1))
        self.register_buffer("square", torch.ones(()))
        self.register_buffer(
            "updates", torch.zeros(steps, 1, dtype=torch.int64)
        )  # in which a trial reached the step

    def update(
        self,
        reward: Float[Tensor, "T B"],
        live: Bool[Tensor, "T B"] | None = None,
        *,
        gamma: float,
        average: Callable[[Tensor], Tensor] = lambda mine: mine,
    ) -> None:
        """Learn from the rewards of more trials; ``average`` is over the workers that have played some each."""
        live = torch.ones_like(reward, dtype=torch.bool) if live is None else live
        returns = trial_advantages(reward, torch.zeros_like(reward), gamma=gamma, lam=1.0)
        trials = average(self._by_step(live.float()))
        self.updates += trials > 0
        share = (1 / self.updates).clamp(min=1 - self.memory)
        mean = average(self._by_step(returns) / trials)
        self.mean += torch.where(trials > 0, share * (mean - self.mean), 0.0)
        off = torch.where(live, returns - self.mean[: len(returns)], 0.0)
        self.square += share[0, 0] * (average(off.square().sum() / trials.sum()) - self.square)

    def _by_step(self, each: Float[Tensor, "T B"]) -> Float[Tensor, "S 1"]:
        """Sums over trials: the same shape however long these are, so that workers can average."""
        return nn.functional.pad(each.sum(1, keepdim=True), (0, 0, 0, len(self.mean) - len(each)))

    def to_return(self, score: Float[Tensor, "T B"]) -> Float[Tensor, "T B"]:
        """Returns to go from standard scores."""
        return self.mean[: len(score)] + self.square.sqrt() * score

    def to_score(self, returns: Float[Tensor, "T B"]) -> Float[Tensor, "T B"]:
        """Standard scores from returns to go."""
        return (returns - self.mean[: len(returns)]) / (self.square.sqrt() + 1e-8)

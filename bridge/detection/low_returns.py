"""When to tune: only where a trial's own evidence says that the agent, as it is, fails.

The evidence after an episode is the mean return of the trial so far. What is usual is measured on ``id_val``, where the
agent is at home: below a low quantile of that, something is not as in training. The share of trials at home that are
tuned without need is then that quantile at most, at each number of episodes (where returns cannot fall, nobody is).

Shape letters: B trials, K episodes of a trial.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bridge.noise import TrialNoise
from bridge.play import play_trial
from bridge.protocol import Agent, Clues
from bridge.tasks.base import TaskFamily
from bridge.test_time.trial_buffer import TrialBuffer

Detector = Callable[[TrialBuffer, int], Bool[Tensor, " B"]]
"""Which trials fail, given their transitions and the number of the last episode."""


@torch.no_grad()
def return_quantile(
    agent: Agent, family: TaskFamily, *, quantile: float, trials: int, seed: int = 0
) -> Float[Tensor, " K"]:
    """The quantile of the mean return so far after each episode, over trials of ``id_val``.

    Args:
        agent: who plays, as it is.
        family: where it is at home.
        quantile: in [0, 1]; 0.05: one trial in twenty is below.
        trials: how many are played; these are environment steps on top of training.
        seed: of tasks' noise and play.
    """
    trial, ids = family.trial("id_val"), torch.arange(trials)
    noise, tasks = TrialNoise.of(f"switch/{seed}", ids), family.sample("id_val", ids)
    memory = agent.start(Clues(), trial, noise.agent.at("start"))
    played = play_trial(agent, family, tasks, memory, noise, trial)
    returns = [totals.reward for _, _, totals in played]
    return _so_far(torch.stack(returns, 1)).quantile(quantile, dim=0)


def below(threshold: Float[Tensor, " K"]) -> Detector:
    """Which trials are worse than usual after an episode; beyond the last known one that counts."""

    def worse(lived: TrialBuffer, episode: int) -> Bool[Tensor, " B"]:
        mean = _so_far(lived.reward.sum(2))[:, episode]
        return mean < threshold[min(episode, len(threshold) - 1)]

    return worse


def _so_far(returns: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """The mean return of the first episode, of the first two, ..."""
    return returns.cumsum(1) / torch.arange(1, returns.shape[1] + 1, device=returns.device)

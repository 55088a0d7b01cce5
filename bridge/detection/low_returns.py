"""Detection of trials whose returns are lower than in training.

The statistic is the mean return of a trial's episodes so far. Its threshold is a low quantile over trials of
``id_val``, whose tasks are distributed as in training. So the false-alarm rate on such tasks is at most that quantile
at each number of episodes (and 0 if returns have no lower values).

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
"""True for detected trials, given their transitions and the number of the last episode."""


@torch.no_grad()
def return_quantile(
    agent: Agent, family: TaskFamily, *, quantile: float, trials: int
) -> Float[Tensor, " K"]:
    """The quantile of the mean return of the first 1, 2, ..., K episodes, over trials of ``id_val``.

    Args:
        agent: the agent, without a clue.
        family: the family that it was trained on.
        quantile: in [0, 1].
        trials: number of trials; their environment steps come on top of training.
    """
    trial, ids = family.trial("id_val"), torch.arange(trials)
    noise, tasks = TrialNoise.of("switch/0", ids), family.sample("id_val", ids)
    memory = agent.start(Clues(), trial, noise.agent.at("start"))
    episodes = play_trial(agent, family, tasks, memory, noise, trial)
    returns = torch.stack([totals.reward for _, _, totals in episodes], 1)
    return _running_mean(returns).quantile(quantile, dim=0)


def below(threshold: Float[Tensor, " K"]) -> Detector:
    """A detector of trials whose mean return is below the threshold of so many episodes, or else of the last one."""

    def detect(buffer: TrialBuffer, episode: int) -> Bool[Tensor, " B"]:
        mean = _running_mean(buffer.reward.sum(2))[:, episode]
        return mean < threshold[min(episode, len(threshold) - 1)]

    return detect


def _running_mean(returns: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
    """The mean return of the first episode, of the first two, ..."""
    return returns.cumsum(1) / torch.arange(1, returns.shape[1] + 1, device=returns.device)

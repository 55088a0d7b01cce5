"""Baselines fitted to the episodes they are subtracted from, for all tasks at once, and the advantages that result.

A baseline of observation and time alone leaves the expected gradient unchanged. Fitting it to the same returns adds a
bias, which is small if there are many more steps than features.

Shape letters: N tasks, E episodes of each, H steps, D observation features, F features of a baseline.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bridge.maths.returns import trial_advantages
from bridge.maths.surrogates import LEAST_SPREAD

Baseline = Literal["linear", "time"]
_RIDGE = 1e-6
"""Ridge penalty of the linear fit, as a share of the steps: observation features may be linearly dependent."""

Steps = Float[Tensor, "N E H"]
"""A number for each step."""
Live = Bool[Tensor, "N E H"]
"""False for the padding after an episode's end."""


def episode_advantages(
    reward: Steps,
    obs: Float[Tensor, "N E H D"],
    live: Live,
    *,
    gamma: float,
    lam: float,
    baseline: Baseline,
) -> Steps:
    """Generalised advantages of each episode (Schulman et al. 2016, equation 16), in units of reward; 0 if not live.

    Args:
        reward: reward of each step; 0 if the step is not live.
        obs: features of the observation before each step.
        live: False for the padding after an episode's end.
        gamma: discount a step, in [0, 1].
        lam: 0 is one-step temporal difference, 1 Monte Carlo.
        baseline: ``linear`` in observations, their squares and powers of time (Duan et al. 2016, "Benchmarking Deep
            Reinforcement Learning for Continuous Control", section 4.2), or the mean return at each ``time`` of a task.
    """
    flat = reward.flatten(0, 1).T
    returns = trial_advantages(flat, torch.zeros_like(flat), gamma=gamma, lam=1.0).T.view_as(reward)
    fit = _linear_fit(obs, returns, live) if baseline == "linear" else _time_means(returns, live)
    value = (fit * live).flatten(0, 1).T
    return trial_advantages(flat, value, gamma=gamma, lam=lam).T.view_as(reward) * live


def _time_means(returns: Steps, live: Live) -> Steps:
    mean = (returns * live).sum(1, keepdim=True) / live.sum(1, keepdim=True).clamp(min=1)
    return mean.expand_as(returns)


def _linear_fit(obs: Float[Tensor, "N E H D"], returns: Steps, live: Live) -> Steps:
    """Ridge regression of each task's returns."""
    time = torch.linspace(0, 1, returns.shape[-1], dtype=obs.dtype, device=obs.device)
    time = time.expand_as(returns)[..., None]
    powers = [time, time.square(), time**3, torch.ones_like(time)]
    features = torch.cat([obs, obs.square(), *powers], -1)
    x = (features * live[..., None]).flatten(1, 2).double()
    y = (returns * live).flatten(1, 2)[..., None].double()
    eye = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    steps = live.sum((1, 2)).clamp(min=1)[:, None, None]
    weights = torch.linalg.solve(x.mT @ x + _RIDGE * steps * eye, x.mT @ y)
    return (x @ weights).view_as(returns).to(returns.dtype)


def standardised(
    advantage: Float[Tensor, "*batch"], live: Bool[Tensor, "*batch"], axes: tuple[int, ...]
) -> Float[Tensor, "*batch"]:
    """Advantages scaled to mean 0 and standard deviation 1 over the live steps along ``axes``; 0 for other steps."""
    gain, count = centred(advantage, live, axes), live.sum(axes, keepdim=True).clamp(min=1)
    return gain / ((gain.square().sum(axes, keepdim=True) / count).sqrt() + LEAST_SPREAD)


def centred(
    advantage: Float[Tensor, "*batch"], live: Bool[Tensor, "*batch"], axes: tuple[int, ...]
) -> Float[Tensor, "*batch"]:
    """Advantages shifted to mean 0 over the live steps along ``axes``; 0 for other steps."""
    count = live.sum(axes, keepdim=True).clamp(min=1)
    return torch.where(live, advantage - (advantage * live).sum(axes, keepdim=True) / count, 0.0)

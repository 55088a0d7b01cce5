"""Shift axes that most families have: what rewards are multiplied by, how long an episode is, and how many there are.

A task that an axis of rewards moves has a parameter ``factor``; all other tasks have none.

Shape letters: B trials.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.protocol import Trial
from bridge.rng import Rows
from bridge.tasks.base import Axis, Split, TaskFamily

REWARD_SIGN = Axis(
    "share of tasks with negated rewards", (0.0, 0.25, 0.5, 0.75, 1.0), "all amortised agents"
)


def reward_scale(besides: str) -> Axis:
    """The axis ``reward_scale``; ``besides``: who should break first, besides nets."""
    return Axis("factor on rewards", (1.0, 0.1, 0.3, 3.0, 10.0), f"nets fed raw rewards; {besides}")


def horizon(steps: int, unit: str = "steps an episode") -> Axis:
    """The axis ``horizon``: half of the trained ``steps``, one and a half times, twice and four times as many."""
    half, more = max(1, steps // 2), steps * 3 // 2
    return Axis(
        unit,
        (float(steps), float(half), float(more), 2.0 * steps, 4.0 * steps),
        "nets past their length",
    )


def context_length(episodes: int) -> Axis:
    """The axis ``context_length``: half of the trained ``episodes``, one and a half times, twice and four times."""
    values = horizon(episodes).values
    return Axis(
        "episodes a trial", values, "all that read their whole past, beyond its trained length"
    )


def trial(family: TaskFamily, split: str, episodes: int, horizon: int) -> Trial:
    """The trial of ``split``: as trained, unless its axis is ``context_length`` or ``horizon``."""
    moved = family.split(split)
    return Trial(
        int(family.value(moved, "context_length", float(episodes))),
        int(family.value(moved, "horizon", float(horizon))),
    )


def factor(family: TaskFamily, split: Split, noise: Rows) -> dict[str, Float[Tensor, " B"]]:
    """The parameter ``factor`` of B tasks of ``split``, where it has one; ``noise`` has a row a task."""
    if negated := family.value(split, "reward_sign", 0.0):
        return {"factor": torch.where(noise.at("flip").uniform() < negated, -1.0, 1.0)}
    if (scale := family.value(split, "reward_scale", 1.0)) != 1:
        return {"factor": torch.full((len(noise),), scale, device=noise.device)}
    return {}


def paid(
    reward: Float[Tensor, "B *more"], params: Mapping[str, Tensor]
) -> Float[Tensor, "B *more"]:
    """Rewards (or their means) as B tasks pay them: scaled, perhaps negated."""
    if "factor" not in params:
        return reward
    return reward * params["factor"].view(-1, *[1] * (reward.dim() - 1))

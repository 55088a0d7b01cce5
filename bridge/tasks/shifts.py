"""Shift axes that most families have: of rewards, of a trial's length, of the senses, and of tasks that change.

Tasks on a shifted axis of rewards have a parameter ``factor``; all other tasks have none.

Shape letters: B trials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.rng import Rows
from bridge.tasks.base import Axis, Split, TaskFamily

REWARD_SIGN = Axis(
    "share of tasks with negated rewards", (0.0, 0.25, 0.5, 0.75, 1.0), "all amortised agents"
)
CHANGES = Axis(
    "probability that the task is drawn anew before an episode",
    (0.0, 0.05, 0.1, 0.2, 0.4),
    "agents for which the order of their past means nothing",
)
"""Acts in ``changes.py``."""
OBS_PERMUTATION = Axis(
    "share of tasks with exchanged coordinates of observations",
    (0.0, 0.25, 0.5, 0.75, 1.0),
    "agents that take observations as known",
)
"""Acts in ``perception.py``, as do the next two."""

OWN_VARIABLES = ("reward_sign",)
"""The axes of this file on which every task has a random variable of its own, so that tasks are no finite list."""
NEUTRAL = {"factor": 1.0}
"""Values at which the parameters of this file change nothing."""


def obs_noise(unit: str, values: tuple[float, float, float, float]) -> Axis:
    """The axis ``obs_noise`` with its levels, standard deviations in ``unit``."""
    return Axis(
        f"standard deviation of noise on observations, in {unit}",
        (0.0, *values),
        "agents that look up where they are",
    )


def reward_delay(steps: int) -> Axis:
    """The axis ``reward_delay``: paid every eighth, quarter or half of an episode's ``steps``, or at its end alone."""
    eighth, quarter, half = (float(math.ceil(steps / parts)) for parts in (8, 4, 2))
    values = (1.0, eighth, quarter, half, float(steps))
    return Axis("steps from one payment to the next", values, "agents that credit the last step")


def reward_scale(besides: str) -> Axis:
    """The axis ``reward_scale``; ``besides``: other agents than networks that should break first."""
    predicts = f"networks fed raw rewards; {besides}"
    return Axis("factor on rewards", (1.0, 0.1, 0.3, 3.0, 10.0), predicts)


def horizon(steps: int, unit: str = "steps an episode") -> Axis:
    """The axis ``horizon``: half of the trained ``steps``, one and a half times, twice and four times as many."""
    half, more = max(1, steps // 2), steps * 3 // 2
    values = (float(steps), float(half), float(more), 2.0 * steps, 4.0 * steps)
    return Axis(unit, values, "networks beyond their trained length")


def context_length(episodes: int) -> Axis:
    """The axis ``context_length``: half of the trained ``episodes``, one and a half times, twice and four times."""
    return Axis(
        "episodes a trial",
        horizon(episodes).values,
        "agents that read their whole past, beyond its trained length",
    )


def factor(family: TaskFamily, split: Split, noise: Rows) -> dict[str, Float[Tensor, " B"]]:
    """The parameter ``factor`` of B tasks, ``{}`` if ``split`` has none; ``noise`` has a row a task."""
    if negated := family.value(split, "reward_sign", 0.0):
        return {"factor": torch.where(noise.at("flip").uniform() < negated, -1.0, 1.0)}
    if (scale := family.value(split, "reward_scale", 1.0)) != 1:
        return {"factor": torch.full((len(noise),), scale, device=noise.device)}
    return {}


def paid(
    reward: Float[Tensor, "B *more"], params: Mapping[str, Tensor]
) -> Float[Tensor, "B *more"]:
    """Rewards (or their means) times the ``factor`` of the tasks, if they have one."""
    if "factor" not in params:
        return reward
    return reward * params["factor"].view(-1, *[1] * (reward.dim() - 1))

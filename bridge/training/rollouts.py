"""Whole trials as training reads them: played by the agent itself, and packed to their live steps.

Where episodes can end early, a trial is the sequence of its live steps, as it was for the memory that played it: the
steps in which its row stood still are taken out, and it is padded at its end to the length of the longest. Padding is
neither judged nor learned from, and is no environment step.

Shape letters: T steps of the longest trial, B trials, F task features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.noise import TrialNoise
from bridge.play import play_trial
from bridge.protocol import Agent, Clues, Step, Trial
from bridge.tasks.base import TaskFamily, Tasks


class Batch(NamedTuple):
    """Whole trials, one column each: their live steps, then padding to the length of the longest.

    ``action``, ``reward``, ``next_obs`` and ``end`` are those of the step itself.
    """

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "T B"]
    next_obs: Tensor
    end: Float[Tensor, "T B"]
    critic_reward: Float[Tensor, "T B"]
    """What advantages are computed from: the reward, or its mean where the critic knows the task; 0 in padding."""
    live: Bool[Tensor, "T B"]
    """False in padding."""
    task: Float[Tensor, "B F"]
    """The task's parameters, for a critic that may see them."""

    def columns(self, rows: Int[Tensor, " b"]) -> Batch:
        """Some of the trials."""
        return Batch(*(part[:, rows] for part in self[:-1]), self.task[rows])

    def before(
        self, action: Tensor, reward: Float[Tensor, " B"], end: Float[Tensor, " B"]
    ) -> tuple[Tensor, ...]:
        """Action, reward and end of the step before each; those before the first step are given."""
        first, own = (action, reward, end), (self.action, self.reward, self.end)
        return tuple(
            torch.cat([start[None], rows[:-1]]) for start, rows in zip(first, own, strict=True)
        )


@torch.no_grad()
def play_trials(
    agent: Agent,
    family: TaskFamily,
    trial: Trial,
    noise: TrialNoise,
    *,
    means: bool,
    tasks: Tasks | None = None,
) -> Batch:
    """Play a trial on a task for each row of ``noise``.

    Args:
        agent: is told nothing of its task, and does not ``adapt``: what it learns, it learns within episodes.
        family: its simulator.
        trial: how many episodes of how many steps.
        noise: of B rows.
        means: whether mean rewards stand in `critic_reward` in place of rewards: the same on average, with less noise.
        tasks: which one each row plays; None: one of ``train``, which ``noise`` names.
    """
    if tasks is None:
        tasks = family.sample("train", task_numbers(noise))
    memory = agent.start(Clues(), trial, noise.agent.at("start"))
    steps: list[Step] = []
    for _ in play_trial(
        agent,
        family,
        tasks,
        memory,
        noise,
        trial,
        on_step=lambda _episode, _t, step: steps.append(step),
    ):
        pass
    names = ("obs", "action", "reward", "next_obs")
    obs, action, reward, next_obs = (
        torch.stack([getattr(s, name) for s in steps]) for name in names
    )
    end = torch.stack([s.terminated | s.truncated for s in steps])
    live = torch.stack([torch.ones_like(end[0]) if s.live is None else s.live for s in steps])
    critic_reward = reward
    if means:
        critic_reward = torch.where(
            live, torch.stack([family.expected_reward(tasks, step) for step in steps]), 0.0
        )
    return packed(
        Batch(
            obs,
            action,
            reward,
            next_obs,
            end.to(reward.dtype),
            critic_reward,
            live,
            task_features(tasks),
        )
    )


def task_numbers(noise: TrialNoise) -> Int[Tensor, " B"]:
    """The task that each row of ``noise`` names, of so many that none is met twice where a split has them.

    The environment's noise names it: no agent can tell its task by its own.
    """
    return noise.env.at("task").bits() & ((1 << 62) - 1)


def packed(batch: Batch) -> Batch:
    """Every trial's live steps first, in their order; steps that no trial needs are left out."""
    order = (~batch.live).sort(dim=0, stable=True).indices[: int(batch.live.sum(0).max())]
    return Batch(
        *(part[order, torch.arange(len(batch.task), device=order.device)] for part in batch[:-1]),
        batch.task,
    )


def task_features(tasks: Tasks) -> Float[Tensor, "B F"]:
    """A task's parameters as one vector."""
    return torch.cat(
        [value.reshape(len(value), -1).float() for _, value in sorted(tasks.params.items())], -1
    )

"""Rollouts of whole trials for training: played by the agent itself, and packed to their live steps.

If episodes can end early, a trial is the sequence of its live steps, as it was for the memory that played it: steps in
which its row idled are taken out, and it is padded at its end to the length of the longest trial. Padding has no
advantage, no loss, and does not count as environment steps.

Shape letters: T steps of the longest trial, B trials, F task features.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge import memory as tree
from bridge.noise import TrialNoise
from bridge.play import record_context
from bridge.protocol import Agent, Trial
from bridge.tasks.base import TaskFamily, Tasks
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.transitions import by_task, stacked


class Batch(NamedTuple):
    """Whole trials, one column each: their live steps, then padding to the length of the longest."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "T B"]
    next_obs: Tensor
    end: Float[Tensor, "T B"]
    """1 if the step ended its episode."""
    critic_reward: Float[Tensor, "T B"]
    """The reward that advantages are computed from: the reward, or its mean if the critic sees the task; 0 in
    padding."""
    live: Bool[Tensor, "T B"]
    """False in padding."""
    task: Float[Tensor, "B F"]
    """The task's parameters, for a critic that may see them."""

    def columns(self, rows: Int[Tensor, " b"]) -> Batch:
        """Some of the trials."""
        return Batch(*(part[:, rows] for part in self[:-1]), self.task[rows])


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

    Training tasks neither change in a trial nor have senses (``bridge/tasks/perception.py``), so that the steps as they
    are are those that the agent observed.

    Args:
        agent: the agent, without a clue.
        family: the simulator.
        trial: number of episodes, and most steps of each.
        noise: noise of B rows.
        means: True: ``critic_reward`` is the mean reward in place of the reward; equal on average, with less noise.
        tasks: the task of each row; None: a task of ``train`` that ``noise`` names.
    """
    if tasks is None:
        tasks = family.sample("train", task_numbers(noise))
    # without a clue, nothing depends on the split
    episodes = record_context(agent, family, "train", tasks, noise, trial)
    steps = [step for episode in episodes for step in episode]
    played = stacked(steps, dim=0)
    critic_reward = played.reward
    if means:
        mean = torch.stack([family.expected_reward(tasks, step) for step in steps])
        critic_reward = torch.where(played.live, mean, 0.0)
    batch = Batch(
        played.obs,
        played.action,
        played.reward,
        played.next_obs,
        end=played.end,
        critic_reward=critic_reward,
        live=played.live,
        task=task_features(tasks),
    )
    return packed(batch)


@torch.no_grad()
def play_side_by_side(
    agent: Agent, family: TaskFamily, tasks: Tasks, noise: TrialNoise, episodes: int
) -> TrialBuffer:
    """The steps ``[N, E, H, ...]`` of single ``episodes`` of training on each of N tasks: none waits for another.

    Args:
        agent: the agent, without a clue; it plays N E rows, those of the same task one after another.
        family: the simulator.
        tasks: N tasks.
        noise: noise of N rows.
        episodes: E.
    """
    trial, noise = Trial(1, family.trial("train").horizon), noise.fork(episodes)
    (steps,) = record_context(agent, family, "train", tree.fork(tasks, episodes), noise, trial)
    return by_task(stacked(steps), len(tasks.index))


def task_numbers(noise: TrialNoise) -> Int[Tensor, " B"]:
    """The number of the task that each row of ``noise`` names, out of 2^62, so that new tasks are never met twice.

    It is drawn from the environment's noise: an agent's noise holds nothing about its task.
    """
    return noise.env.at("task").bits() & ((1 << 62) - 1)


def packed(batch: Batch) -> Batch:
    """The batch with every trial's live steps first, in their order, without steps that no trial needs."""
    order = (~batch.live).sort(dim=0, stable=True).indices[: int(batch.live.sum(0).max())]
    trials = torch.arange(len(batch.task), device=order.device)
    return Batch(*(part[order, trials] for part in batch[:-1]), batch.task)


def task_features(tasks: Tasks) -> Float[Tensor, "B F"]:
    """A task's parameters as one vector."""
    return torch.cat(
        [value.reshape(len(value), -1).float() for _, value in sorted(tasks.params.items())], -1
    )

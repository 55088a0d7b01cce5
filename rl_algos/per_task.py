"""Policies that differ by task: one architecture with parameters of each task's own, all tasks run in one call.

``Parameters`` holds the tensors that are a task's own; all tasks share a policy's other parameters.

Shape letters: N tasks, E episodes of each, H steps, A distribution parameters.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import functional_call, vmap

from bridge.idle import Idle
from bridge.noise import TrialNoise
from bridge.protocol import Card, Clues, Decision, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.training.rollouts import play_side_by_side
from rl_algos.policies import Policy

Parameters = dict[str, Tensor]
"""Parameters by name; every tensor leads with N."""


def enough_tasks(count: int, steps: int) -> int:
    """The number of tasks of a batch: ``count``; if that is 0, enough to play 2,000 steps, and at least 20.

    With trials of a few steps, a batch of 20 tasks is mostly noise, and the time of an update mostly overhead.

    Args:
        count: a number of tasks, or 0.
        steps: environment steps of each task.
    """
    return count or max(20, -(-2_000 // steps))


class Episodes(NamedTuple):
    """Episodes of N tasks. Reward, log-probability and advantage are 0 at steps that were not played."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "N E H"]
    live: Bool[Tensor, "N E H"]
    """True at steps that were played."""
    behaviour: Float[Tensor, "N E H"]
    """Log-probability of the action under the policy that took it, in nats."""
    advantage: Float[Tensor, "N E H"]
    """Advantage of the action, in units of reward; 0 until it is computed."""

    @classmethod
    def of(cls, steps: TrialBuffer) -> Episodes:
        """Recorded episodes; log-probabilities and advantages are not computed yet."""
        zeros = torch.zeros_like(steps.reward)
        return cls(steps.obs, steps.action, steps.reward, steps.live, zeros, zeros)


def out(policy: Policy, params: Parameters, obs: Tensor) -> Float[Tensor, "N *E A"]:
    """Outputs of each task's policy on that task's observations ``[N, *E, ...]``."""
    return vmap(partial(functional_call, policy))(params, (obs,))


def log_prob_and_entropy(
    policy: Policy, params: Parameters, episodes: Episodes
) -> tuple[Float[Tensor, "N E H"], Float[Tensor, "N E H"]]:
    """Log-probabilities of the actions taken and entropies of each task's policy, in nats; 0 if not played."""
    log_prob, entropy = policy.actions.log_prob_and_entropy(
        out(policy, params, episodes.obs), episodes.action
    )
    return torch.where(episodes.live, log_prob, 0.0), torch.where(episodes.live, entropy, 0.0)


@torch.no_grad()
def roll_out(
    policy: Policy,
    params: Parameters,
    family: TaskFamily,
    tasks: Tasks,
    noise: TrialNoise,
    episodes: int,
) -> Episodes:
    """Single ``episodes`` of training on each task, side by side, with the log-probabilities of the actions."""
    steps = play_side_by_side(PerTask(policy, params), family, tasks, noise, episodes)
    played = Episodes.of(steps)
    return played._replace(behaviour=log_prob_and_entropy(policy, params, played)[0])


class PerTask(Idle):
    """An agent that plays E episodes of each task at once, rows of the same task one after another, without memory."""

    card = Card(method="per_task")

    def __init__(self, policy: Policy, params: Parameters) -> None:
        self.policy, self.params = policy, params
        self.tasks = len(next(iter(params.values())))

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> tuple[()]:
        return ()

    def act(self, memory: tuple[()], obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        outputs = out(self.policy, self.params, obs.unflatten(0, (self.tasks, -1)))
        return self.policy.actions.decide(outputs.flatten(0, 1), rng)

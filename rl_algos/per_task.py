"""Policies that differ by task: one architecture, for each of N tasks parameters of its own, all run in one call.

``Parameters`` names the tensors that are a task's own; a policy's other parameters are shared by all.

Shape letters: N tasks, E episodes of each, H steps, A distribution parameters.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.func import functional_call, vmap

from bridge import memory as tree
from bridge.noise import TrialNoise
from bridge.play import play_episode
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.rng import Rows
from bridge.tasks.base import TaskFamily, Tasks
from rl_algos.policies import MlpPolicy, Policy

Parameters = dict[str, Tensor]
"""By name; every tensor leads with N."""


def enough_tasks(asked: int, steps: int) -> int:
    """As many tasks as were asked for; where that is 0, as many as play 2,000 steps at ``steps`` each, and 20 at least.

    Where trials are a few steps, a batch of twenty is noise, and the time of an update is all overhead.
    """
    return asked or max(20, -(-2_000 // steps))


class Episodes(NamedTuple):
    """Episodes of N tasks; what was not lived has reward, log-probability and advantage 0."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "N E H"]
    live: Bool[Tensor, "N E H"]
    behaviour: Float[Tensor, "N E H"]
    """Log-probability of the action by the policy that took it, in nats."""
    advantage: Float[Tensor, "N E H"]
    """How much better than expected the step was; 0 until somebody has judged it."""


def out(policy: Policy, params: Parameters, obs: Tensor) -> Float[Tensor, "N *E A"]:
    """Each task's policy on that task's observations ``[N, *E, ...]``."""
    return vmap(lambda own, seen: functional_call(policy, own, (seen,)))(params, obs)


def log_prob_and_entropy(
    policy: MlpPolicy, params: Parameters, episodes: Episodes
) -> tuple[Float[Tensor, "N E H"], Float[Tensor, "N E H"]]:
    """Of the actions taken by each task's policy, and of the policy there, in nats; 0 where not lived."""
    log_prob, entropy = policy.actions.log_prob_and_entropy(
        out(policy, params, episodes.obs), episodes.action
    )
    return torch.where(episodes.live, log_prob, 0.0), torch.where(episodes.live, entropy, 0.0)


@torch.no_grad()
def play(
    policy: Policy,
    params: Parameters,
    family: TaskFamily,
    tasks: Tasks,
    noise: TrialNoise,
    episodes: int,
    horizon: int,
) -> list[Step]:
    """The steps of ``episodes`` episodes on each task, side by side: no episode waits for another.

    Rows of the same task stand one after another: N E of them.
    """
    player, steps = _SideBySide(policy, params), []
    play_episode(
        player,
        family,
        tree.fork(tasks, episodes),
        (),
        noise.fork(episodes),
        episode=0,
        horizon=horizon,
        visit=lambda _t, step: steps.append(step),
    )
    return steps


@torch.no_grad()
def roll_out(
    policy: MlpPolicy,
    params: Parameters,
    family: TaskFamily,
    tasks: Tasks,
    noise: TrialNoise,
    episodes: int,
    horizon: int,
) -> Episodes:
    """``play``, as episodes of each task."""
    steps = play(policy, params, family, tasks, noise, episodes, horizon)

    def by_task(name: str) -> Tensor:
        return torch.stack([getattr(step, name) for step in steps], 1).unflatten(
            0, (len(tasks.index), episodes)
        )

    reward = by_task("reward")
    live = by_task("live") if family.ends_early else torch.ones_like(reward, dtype=torch.bool)
    nothing = torch.zeros_like(reward)
    played = Episodes(
        by_task("obs"), by_task("action"), reward, live, behaviour=nothing, advantage=nothing
    )
    return played._replace(behaviour=log_prob_and_entropy(policy, params, played)[0])


class _SideBySide:
    """Plays E episodes of each task at once, rows of the same task one after another; it remembers nothing."""

    card = Card(method="side_by_side")

    def __init__(self, policy: Policy, params: Parameters) -> None:
        self.policy, self.params = policy, params
        self.tasks = len(next(iter(params.values())))

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> tuple[()]:
        return ()

    def begin(self, memory: tuple[()], rng: Rows, *, episode: int) -> tuple[()]:
        return memory

    def act(self, memory: tuple[()], obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        said = out(self.policy, self.params, obs.unflatten(0, (self.tasks, -1))).flatten(0, 1)
        return self.policy.actions.decide(said, rng)

    def observe(self, memory: tuple[()], step: Step, carry: Any = None) -> tuple[()]:
        return memory

    def adapt(self, memory: tuple[()], rng: Rows, *, episode: int, last: bool) -> tuple[()]:
        return memory

"""What a transformer reads: one token a step, which tells the last transition and asks what to do now.

    token_t = (obs_t; obs_{t-1}, action_{t-1}, reward_{t-1}, next_obs_{t-1}, end_{t-1}),  action_t ~ policy(token_0..t)

It is RL²'s input with the last transition made whole, so that one layout serves three ways to train:

* online RL reads a trial step by step, as RL² does;
* algorithm distillation (Laskin et al. 2022) reads a learning history and names the action of each of its steps;
* a decision-pretrained transformer (Lee et al. 2023) reads transitions that need not follow one another, and names the
  best action in a state asked about. As every token asks about a state of its own, one pass over n transitions
  answers n + 1 questions, and the tokens of a context stay as they are when the question changes.

A step that ends an episode keeps its own ``next_obs``; ``obs_t`` is then the first observation of the next episode.
Rewards are read as they are: their scale is for the method to learn, and one of the axes along which it may fail.

Shape letters: B trials, T steps, D features of a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from bridge import spaces
from bridge.protocol import Step
from bridge.rng import Rows
from bridge.tasks.base import Box, Discrete


class Transition(NamedTuple):
    """What was done and what came of it; tensors of any batch shape."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "*batch"]
    next_obs: Tensor
    end: Float[Tensor, "*batch"]
    """1 where it ended its episode, by termination or time-out, and before the first step; else 0."""

    @classmethod
    def of(cls, step: Step) -> Transition:
        """What of a step is told to the next one."""
        return cls(
            step.obs,
            step.action,
            step.reward,
            step.next_obs,
            (step.terminated | step.truncated).to(step.reward.dtype),
        )


@dataclass(frozen=True)
class Layout:
    """Where in a token everything is: the observation, then the last transition, in the order of its fields."""

    observation: Discrete | Box
    action: Discrete | Box

    @property
    def width(self) -> int:
        """D."""
        return 3 * spaces.width(self.observation) + spaces.width(self.action) + 2

    def nothing_yet(self, rng: Rows) -> Transition:
        """What the first step of B trials reads: features of zeros, and an end, since an episode begins."""
        obs, zeros = (
            spaces.nothing_yet(self.observation, rng),
            torch.zeros(len(rng), device=rng.device),
        )
        return Transition(
            obs, spaces.nothing_yet(self.action, rng), zeros, obs, torch.ones_like(zeros)
        )

    def token(self, obs: Tensor, last: Transition) -> Float[Tensor, "*batch D"]:
        """The token of the step at ``obs`` after the transition ``last``."""
        seen, before, after = (
            spaces.features(x, self.observation) for x in (obs, last.obs, last.next_obs)
        )
        done = spaces.features(last.action, self.action)
        return torch.cat(
            [seen, before, done, last.reward[..., None], after, last.end[..., None]], -1
        )

    def trial(self, steps: Transition, first: Transition) -> Float[Tensor, "B T D"]:
        """The tokens of T steps that follow one another; ``first`` is the transition before them, ``[B]``."""
        last = Transition(
            *(torch.cat([x[:, None], y[:, :-1]], 1) for x, y in zip(first, steps, strict=True))
        )
        return self.token(steps.obs, last)

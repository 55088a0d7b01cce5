"""The input of a transformer: one token a step, with the last transition and the observation to act on.

    token_t = (obs_t; obs_{t-1}, action_{t-1}, reward_{t-1}, next_obs_{t-1}, end_{t-1}),  action_t ~ policy(token_0..t)

It is RL²'s input with the last transition made complete, so that one layout serves three kinds of training:

* online RL reads a trial step by step, as RL² does;
* algorithm distillation (Laskin et al. 2022) reads a learning history and predicts the action of each of its steps;
* a decision-pretrained transformer (Lee et al. 2023) reads transitions, which need not be consecutive, and predicts the
  best action in a query state. As every token has a query state of its own, one pass over n transitions answers n + 1
  queries, and the tokens of a context do not change with the query.

A step that ends an episode keeps its own ``next_obs``; ``obs_t`` is then the first observation of the next episode.
Rewards are not scaled: a method has to learn their scale, which is one of the axes along which it may fail.

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
from bridge.tasks.base import Space
from bridge.test_time.trial_buffer import TrialBuffer
from bridge.transitions import before


class Transition(NamedTuple):
    """A transition, as tokens contain it; tensors of any batch shape."""

    obs: Tensor
    action: Tensor
    reward: Float[Tensor, "*batch"]
    next_obs: Tensor
    end: Float[Tensor, "*batch"]
    """1 if the step ended its episode, by termination or time-out, and before the first step; else 0."""

    @classmethod
    def of(cls, step: Step | TrialBuffer) -> Transition:
        """The transition of one step, or those of recorded steps."""
        return cls(step.obs, step.action, step.reward, step.next_obs, step.end)


@dataclass(frozen=True)
class Layout:
    """The order of a token's features: the observation, then the fields of the last transition."""

    observation: Space
    action: Space

    @property
    def width(self) -> int:
        """D, the number of features of a token."""
        return 3 * spaces.width(self.observation) + spaces.width(self.action) + 2

    def nothing_yet(self, rng: Rows) -> Transition:
        """The transition before the first step of B trials: all features 0, and an end, since an episode begins."""
        obs, action = (spaces.nothing_yet(space, rng) for space in (self.observation, self.action))
        zeros = torch.zeros(len(rng), device=rng.device)
        return Transition(obs, action, zeros, obs, torch.ones_like(zeros))

    def token(self, obs: Tensor, last: Transition) -> Float[Tensor, "*batch D"]:
        """The token of the step at ``obs`` after the transition ``last``."""
        now, before, after = (
            spaces.features(x, self.observation) for x in (obs, last.obs, last.next_obs)
        )
        done = spaces.features(last.action, self.action)
        return torch.cat(
            [now, before, done, last.reward[..., None], after, last.end[..., None]], -1
        )

    def trial(self, steps: Transition, first: Transition) -> Float[Tensor, "B T D"]:
        """The tokens of T consecutive steps; ``first`` is the transition before them, ``[B]``."""
        return self.token(steps.obs, before(steps, first))

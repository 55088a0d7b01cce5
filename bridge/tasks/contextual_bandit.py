"""Contextual bandits that share contexts, with dials for what makes known tasks get in one another's way.

Every step shows one of 8 contexts, drawn evenly, and pays 1 with a probability of 0.9 for the context's best arm and of
0.1 for any other. A common table has a best arm for each context. The dials say how tasks differ from it:

* ``own``: the share of contexts, drawn for each task and context, whose best arm is the task's own draw.
* ``opposed``: the share of tasks whose best arm is the opposite one (half of the arms further) in every context. They
  are spread evenly: of the first N tasks, N times that share, rounded down.
* ``decades``: the rewards of every other task are 10 to this power times as large.

With ``tasks=N`` an agent can be given which task it plays; then ``opposed`` tests whether gradients collide, without it
whether an agent finds out which task it is. The family is our own (no paper has it), for ``metabridge concerns``.

Shape letters: B trials, C contexts, A arms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bridge.config import Count, NonNegative, Share
from bridge.errors import UserError
from bridge.protocol import Step, Trial
from bridge.rng import Rows
from bridge.tasks import shifts
from bridge.tasks.base import Axis, Discrete, Outcome, Split, Tasks, row_entries
from bridge.tasks.episodic import EpisodicFamily

HORIZON = 10
"""Steps of an episode."""
BEST, OTHER = 0.9, 0.1
"""Probabilities of a reward."""
MOST, MOST_DECADES = 1_000, 6


@dataclass(frozen=True, kw_only=True)
class ContextualBandit(EpisodicFamily):
    """Contextual bandits in episodes of 10 steps."""

    contexts: int = 8
    """Number of contexts."""
    arms: int = 4
    """Number of arms, an even one."""
    own: Share = 0.5
    """Share of contexts whose best arm is the task's own."""
    opposed: Share = 0.0
    """Share of tasks whose best arm is the opposite one in every context."""
    decades: NonNegative = 0.0
    """The rewards of every other task are 10 to this power times as large."""

    episodes: Count = 4
    """Episodes in a trial."""

    name: ClassVar[str] = "contextual_bandit"

    def __post_init__(self) -> None:
        if not (2 <= self.contexts <= MOST and 2 <= self.arms <= MOST and self.arms % 2 == 0):
            raise UserError(
                f"A contextual bandit needs 2 to {MOST:,} contexts and an even number of arms up to {MOST:,}, since "
                f"arms have opposites; found contexts={self.contexts:,}, arms={self.arms:,}."
            )
        if self.decades > MOST_DECADES:
            raise UserError(
                f"Rewards differ by at most 10^{MOST_DECADES} (decades={MOST_DECADES}); found decades={self.decades:g}."
            )
        super().__post_init__()

    @property
    def trained_trial(self) -> Trial:
        return Trial(self.episodes, HORIZON)

    @property
    def own_axes(self) -> Mapping[str, Axis]:
        return {
            "changes": shifts.CHANGES,
            "reward_delay": shifts.reward_delay(HORIZON),
            "reward_scale": shifts.reward_scale("none"),
            "reward_sign": shifts.REWARD_SIGN,
        }

    def _sample(self, split: Split, index: Int[Tensor, " B"], noise: Rows) -> dict[str, Tensor]:
        one = Rows.of(f"tasks/{self.name}/v{self.version}", torch.zeros_like(index[:1]))
        common = one.at("common").integers(self.arms, self.contexts)
        own = noise.at("is_own").uniform(self.contexts) < self.own
        best = torch.where(own, noise.at("own").integers(self.arms, self.contexts), common)
        opposed = ((index + 1) * self.opposed).floor() > (index * self.opposed).floor()
        best = (best + self.arms // 2 * opposed[:, None]) % self.arms
        size = torch.where(index % 2 == 1, 10.0**self.decades, 1.0)
        return {"best": best, "size": size} | shifts.factor(self, split, noise)

    @property
    def observation(self) -> Discrete:
        return Discrete(self.contexts)

    @property
    def action(self) -> Discrete:
        return Discrete(self.arms)

    def reset(self, tasks: Tasks, noise: Rows) -> tuple[Tensor, Tensor]:
        context = noise.at("first").integers(self.contexts)
        return context, context

    def step(
        self, tasks: Tasks, state: Int[Tensor, " B"], action: Int[Tensor, " B"], noise: Rows
    ) -> Outcome:
        won = noise.at("reward").uniform() < self._chance(tasks, state, action)
        reward = shifts.paid(won * tasks.params["size"], tasks.params)
        context = noise.at("next").integers(self.contexts)
        return Outcome(context, context, reward)

    @staticmethod
    def _chance(tasks: Tasks, context: Tensor, arm: Tensor) -> Float[Tensor, " B"]:
        """The probability of a reward."""
        return torch.where(arm == row_entries(tasks.params["best"], context), BEST, OTHER)

    def mean_rewards(self, tasks: Tasks) -> Float[Tensor, "B C A"]:
        """The mean reward of each context and arm, with the size and factor of its task."""
        arms = torch.arange(self.arms, device=tasks.index.device)
        chance = torch.where(tasks.params["best"][..., None] == arms, BEST, OTHER)
        return shifts.paid(chance * tasks.params["size"][:, None, None], tasks.params)

    def optimal_return(self, tasks: Tasks, trial: Trial) -> Float[Tensor, " B"]:
        """Return the mean of the best arms' means, times the steps of an episode."""
        return self.mean_rewards(tasks).amax(-1).mean(-1) * trial.horizon

    def expected_reward(self, tasks: Tasks, step: Step) -> Float[Tensor, " B"]:
        return row_entries(self.mean_rewards(tasks), step.obs, step.action)

    def success(self, tasks: Tasks, step: Step) -> Bool[Tensor, " B"]:
        """True if the arm has the highest mean."""
        means = row_entries(self.mean_rewards(tasks), step.obs)
        return row_entries(means, step.action) == means.amax(-1)

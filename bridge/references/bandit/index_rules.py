"""Prior-free bandit rules: pull the arm of the highest index, computed from each arm's pulls and mean reward.

On Bernoulli arms a mean starts from one success in two pulls, as in the baselines of Duan et al. 2016. On Gaussian arms
and on those of one best arm, every arm is pulled once first, as in the baselines of Lee et al. 2023 and of
Krishnamurthy et al. 2024 (arXiv 2403.15371). The rules see raw rewards and know nothing about the task distribution.

Deviations: (1) ties are broken at random, not towards the first arm; (2) constants are fixed in advance, not chosen on
the reported trials as for the published rows.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bridge.config import NonNegative, Share, check_bound
from bridge.protocol import Decision
from bridge.references.bandit.arm_beliefs import Moments, MomentsReference
from bridge.references.base import argmax_random_ties, epsilon_greedy, reference_card
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit, PerArm

_FIRST = 1e6
"""Index of an arm that must be pulled once before any other rule applies."""


class Greedy(MomentsReference):
    """The highest mean reward so far."""

    name: ClassVar[str] = "greedy"

    def __init__(self, family: Bandit, split: str = "id") -> None:
        super().__init__(family.k, reference_card(self.name, "heuristic", supervision="none"))
        self.each_arm_first = family.arms == "gaussian" or family.one_best

    def act(self, memory: Moments, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        index = self.mean(memory)
        if explore:
            index = index + self.bonus(memory)
        return Decision(argmax_random_ties(index, rng))

    def mean(self, memory: Moments) -> PerArm:
        """Each arm's mean reward, with the start for its kind of arms."""
        if self.each_arm_first:
            untried = memory.pulls == 0
            return torch.where(untried, _FIRST, memory.total / memory.pulls.clamp(min=1))
        return (memory.total + 1) / (memory.pulls + 2)

    def bonus(self, memory: Moments) -> PerArm:
        """The number added to each mean while exploring."""
        return torch.zeros_like(memory.pulls)


class EpsilonGreedy(Greedy):
    """Greedy, but a uniformly drawn arm with probability ``epsilon``.

    Args:
        family: the family.
        split: ignored.
        epsilon: probability of a uniformly drawn arm.
    """

    name = "epsilon_greedy"

    def __init__(self, family: Bandit, split: str = "id", epsilon: Share = 0.05) -> None:
        check_bound(self.name, "from 0 to 1", epsilon=epsilon)
        super().__init__(family, split)
        self.epsilon = epsilon

    def act(self, memory: Moments, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        greedy = super().act(memory, obs, rng, explore=explore)
        if not explore:
            return greedy
        return epsilon_greedy(greedy, self.epsilon, rng.at("wander"), rng.at("arm"), self.k)


class UCB1(Greedy):
    """Optimism: mean + c * sqrt(2 ln t / pulls) (Auer, Cesa-Bianchi & Fischer 2002) on Bernoulli arms.

    t counts pulls and pseudo-pulls. On arms that are each pulled once first (Gaussian ones, and those of one best arm)
    the bonus is 1 / sqrt(pulls), the rule of Lee et al. 2023 and of Krishnamurthy et al. 2024.

    Args:
        family: the family.
        split: ignored.
        c: factor on the bonus of Bernoulli arms; the published rule has 1. Without effect on arms pulled once first.
    """

    name = "ucb1"

    def __init__(self, family: Bandit, split: str = "id", c: NonNegative = 0.2) -> None:
        check_bound(self.name, "0 or more", c=c)
        super().__init__(family, split)
        self.c = c

    def bonus(self, memory: Moments) -> PerArm:
        if self.each_arm_first:
            return memory.pulls.clamp(min=1).rsqrt()
        pulls = memory.pulls + 2
        return self.c * torch.sqrt(2 * torch.log(pulls.sum(-1, keepdim=True)) / pulls)

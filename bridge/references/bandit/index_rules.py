"""Prior-free bandit rules: pull the arm of the highest index, computed from each arm's pulls and mean reward.

On Bernoulli arms a mean starts from one success in two pulls, as in the baselines of Duan et al. 2016; on Gaussian arms
every arm is pulled once first, as in the baselines of Lee et al. 2023. The rules see raw rewards: nothing about the
task distribution is told to them.

Deviations: (1) ties are broken at random, not towards the first arm; (2) constants are fixed in advance, not chosen on
the trials that are reported (the published rows were).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bridge.errors import UserError
from bridge.protocol import Card, Clues, Decision, Step, Trial
from bridge.references.bandit.arm_beliefs import Moments, add_moment, no_moments
from bridge.references.base import Reference, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit

_FIRST = 1e6
"""Index of an arm that must be pulled once before any other rule holds."""


@dataclass
class IndexRule(Reference):
    """Greedy with respect to the mean reward; the rules below add to it."""

    family: Bandit
    split: str = "id"
    card: Card = field(init=False)

    def __post_init__(self) -> None:
        self.card = Card(
            method=type(self).__name__.lower(),
            reference=True,
            decode_rule="rule",
            exact_reference="heuristic",
        )

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Moments:
        return no_moments(len(rng), self.family.k, rng.device)

    def observe(self, memory: Moments, step: Step, carry: Any = None) -> Moments:
        return add_moment(memory, step)

    def act(self, memory: Moments, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        index = self.mean(memory)
        if explore:
            index = index + self.bonus(memory)
        return Decision(argmax_random_ties(index, rng))

    def mean(self, memory: Moments) -> Float[Tensor, "B k"]:
        """Each arm's mean reward, with the start that its kind of arms has."""
        if self.family.arms == "gaussian":
            untried = memory.pulls == 0
            return torch.where(untried, _FIRST, memory.total / memory.pulls.clamp(min=1))
        return (memory.total + 1) / (memory.pulls + 2)

    def bonus(self, memory: Moments) -> Float[Tensor, "B k"]:
        """What is added to the mean while exploring."""
        return torch.zeros_like(memory.pulls)


class Greedy(IndexRule):
    """The highest mean reward so far."""


@dataclass
class EpsilonGreedy(IndexRule):
    """Greedy, but a uniformly drawn arm with probability ``epsilon``."""

    epsilon: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon <= 1:
            raise UserError(f"epsilon is a probability between 0 and 1, found {self.epsilon}.")
        super().__post_init__()
        self.card = Card(
            method="epsilon_greedy", reference=True, decode_rule="rule", exact_reference="heuristic"
        )

    def act(self, memory: Moments, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        greedy = super().act(memory, obs, rng, explore=explore).action
        if not explore:
            return Decision(greedy)
        wander = rng.at("wander").uniform() < self.epsilon
        return Decision(torch.where(wander, rng.at("arm").integers(self.family.k), greedy))


@dataclass
class UCB1(IndexRule):
    """Optimism: mean + c * sqrt(2 ln t / pulls) (Auer, Cesa-Bianchi & Fischer 2002) on Bernoulli arms.

    t counts pulls and pseudo-pulls. On Gaussian arms the bonus is 1 / sqrt(pulls), the rule of Lee et al. 2023.
    """

    c: float = 0.2

    def __post_init__(self) -> None:
        if self.c < 0:
            raise UserError(
                f"c scales the exploration bonus and cannot be negative, found {self.c}."
            )
        super().__post_init__()

    def bonus(self, memory: Moments) -> Float[Tensor, "B k"]:
        if self.family.arms == "gaussian":
            return memory.pulls.clamp(min=1).rsqrt()
        pulls = memory.pulls + 2
        return self.c * torch.sqrt(2 * torch.log(pulls.sum(-1, keepdim=True)) / pulls)

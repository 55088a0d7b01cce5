"""The informed oracle on bandits, which pulls the best arm from the start."""

from __future__ import annotations

from torch import Tensor

from bridge.protocol import Clues, Decision, Trial
from bridge.references.base import Informed, argmax_random_ties
from bridge.rng import Rows
from bridge.tasks.bandit import Bandit


class BanditOracle(Informed):
    """The oracle, which is given the task and plays optimally: on bandits, the best arm.

    Its memory is the mean reward of each arm, ``[B, k]``.
    """

    def start(self, clues: Clues, trial: Trial, rng: Rows) -> Tensor:
        return Bandit.mean_rewards(clues.task)

    def act(self, memory: Tensor, obs: Tensor, rng: Rows, *, explore: bool) -> Decision:
        return Decision(argmax_random_ties(memory, rng))
